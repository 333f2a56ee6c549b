#!/usr/bin/env node
// The module as nginx's own build makes it: ./configure --add-dynamic-module with the file `config`, then loaded by the stock nginx.
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test, assert } = require('./lib/tap');
const { Nginx } = require('./lib/nginx');
const { freePort } = require('./lib/port');
const { dir } = require('./lib/dir');

const top = path.join(__dirname, '..');
const source = process.env.NGINX_SOURCE || '/usr/share/nginx/src';
const objects = path.join(dir, 'objects');

function run(script, ...args) {
  const done = spawnSync('bash', ['-euo', 'pipefail', '-c', script, 'addon', ...args], { cwd: source, encoding: 'utf8', maxBuffer: 1 << 28 });
  assert.equal(done.status, 0, `${done.stdout}\n${done.stderr}`.slice(-4000));
}

test('configure takes it', () => {
  const quickly = '-O0 -g0';
  run('. ./conf_flags; ./configure "${NGX_CONF_FLAGS[@]}" --with-cc-opt="$3" --add-dynamic-module="$1" --builddir="$2"', top, objects, quickly);
});

test('make modules builds it', () => {
  run('make -f "$1/Makefile" -j "$2" modules CC="$3"', objects, String(os.cpus().length), compiler());
}, { limit: 400_000 });

/** The same compiler through ccache, where there is one. */
function compiler() {
  return spawnSync('ccache', ['--version']).status === 0 ? 'ccache cc' : 'cc';
}

test('the stock nginx loads it', async () => {
  const nginx = new Nginx({ server: 'location / { matrix_sync http://127.0.0.1:1; } location = /status { matrix_sync_status; }' });
  nginx.port = await freePort();
  nginx.http = 'matrix_sync_database "host=/nowhere dbname=none";';
  const config = nginx.config().replace(/load_module .*;/, `load_module ${objects}/ngx_http_matrix_sync_module.so;`);
  assert.ok(fs.existsSync(path.join(objects, 'ngx_http_matrix_sync_module.so')));
  const checked = nginx.check(config);
  assert.ok(checked.ok, checked.said);
});
