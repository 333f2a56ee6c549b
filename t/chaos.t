#!/usr/bin/env node
// Workers, masters and PostgreSQL die, freeze and come back under load, and nothing is lost: 25 s of it, the same faults each time; with
// MATRIX_SYNC_LONG=1 120 s, and others each time. The seed is printed; t/chaos --seed makes the same faults at the same times.
'use strict';

const { chaos } = require('./chaos.d/main');

const { MATRIX_SYNC_SEED: seed, MATRIX_SYNC_SECONDS: seconds, MATRIX_SYNC_LONG: long } = process.env;

chaos({ seed: seed || (long === '1' ? String(process.pid) : 'same'), seconds: Number(seconds) || (long === '1' ? 120 : 25) });
