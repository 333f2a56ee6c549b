#!/usr/bin/env node
// A random walk through the real Synapse: 300 steps, or 5,000 with MATRIX_SYNC_LONG=1. The seed is printed; t/walk --seed walks it again.
'use strict';

const { walk } = require('./walk.d/main');

const { MATRIX_SYNC_SEED: seed, MATRIX_SYNC_STEPS: steps, MATRIX_SYNC_STREAMS: streams, MATRIX_SYNC_LONG: long, MATRIX_SYNC_KEEP_GOING: keepGoing } = process.env;

walk({ seed: seed || String(process.pid), steps: Number(steps) || (long === '1' ? 5000 : 300), streams: streams ? streams.split(',') : undefined, keepGoing: Boolean(keepGoing) });
