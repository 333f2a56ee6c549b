#!/usr/bin/env node
// The fuzz targets of t/fuzz, by libFuzzer beside the other tests: 10 s each, with MATRIX_SYNC_LONG=1 180 s. What is found new stays in
// build-fuzz/corpus, for the next time; an input that ends a target is kept beside it.
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test, assert } = require('./lib/tap');

const top = path.join(__dirname, '..');
const build = path.join(top, 'build-fuzz');
const seconds = process.env.MATRIX_SYNC_LONG === '1' ? 180 : 10;

function run(program, ...args) {
  const done = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  assert.equal(done.status, 0, `${done.stdout}\n${done.stderr}`.slice(-8000));
}

test('they are built', () => {
  const script = `. "$top/tools/build.sh"
    configure "$1" -DFUZZ=ON -DCMAKE_BUILD_TYPE=None -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++
    ninja -C "$1" -j "$(nproc)"`;
  run('env', `top=${top}`, 'bash', '-euo', 'pipefail', '-c', script, 'fuzz', build);
}, { limit: 600_000 });

for (const name of fs.readdirSync(path.join(__dirname, 'fuzz')).filter((file) => file.endsWith('_fuzz.cpp')).map((file) => path.parse(file).name)) {
  test(name, () => {
    const found = path.join(build, 'corpus', name);
    fs.mkdirSync(found, { recursive: true });
    run(path.join(build, name), `-max_total_time=${seconds}`, '-timeout=10', '-rss_limit_mb=2048', '-print_final_stats=1', `-dict=${__dirname}/fuzz/dictionary`,
      `-artifact_prefix=${build}/${name}-`, found, path.join(__dirname, 'fuzz/corpus', name));
  }, { limit: (seconds + 60) * 1000 });
}
