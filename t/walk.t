#!/usr/bin/env node
// A random walk through the real Synapse: 300 steps, the same each time, so that what fails is the change; with MATRIX_SYNC_LONG=1 another
// 5,000 each time. The seed is printed; t/walk --seed walks it again.
'use strict';

const { walk } = require('./walk.d/main');

const { MATRIX_SYNC_SEED: seed, MATRIX_SYNC_STEPS: steps, MATRIX_SYNC_STREAMS: streams, MATRIX_SYNC_LONG: long, MATRIX_SYNC_KEEP_GOING: keepGoing } = process.env;

walk({ seed: seed || (long === '1' ? String(process.pid) : 'same'), steps: Number(steps) || (long === '1' ? 5000 : 300), streams: streams ? streams.split(',') : undefined, keepGoing: Boolean(keepGoing) });
