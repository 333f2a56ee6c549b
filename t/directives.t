#!/usr/bin/env node
// What nginx -t says of the directives: where they may stand, how often, with which values; and that the examples load.
'use strict';

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test, assert, before } = require('./lib/tap');
const { dir } = require('./lib/dir');
const { Nginx, so } = require('./lib/nginx');
const { freePort } = require('./lib/port');

const nginx = new Nginx();
before(async () => { nginx.port = await freePort(); });

const database = 'matrix_sync_database "host=/nowhere dbname=x";';
const url = 'http://127.0.0.1:8008';
const sync = `matrix_sync ${url};`;

/** A configuration of these parts, checked. */
function check({ main = '', http = database, server = '', location = sync }) {
  Object.assign(nginx, { main, http, server: `${server}\nlocation = /sync { ${location} }` });
  return nginx.check(nginx.config());
}

function loads(name, parts) {
  test(`loads: ${name}`, () => {
    const { ok, said } = check(parts);
    assert.ok(ok, said);
  });
}

/** The message matches every pattern, and names the file and line as nginx does. */
function refused(name, parts, ...patterns) {
  test(`refused: ${name}`, () => {
    const { ok, said } = check(parts);
    assert.equal(ok, false, said);
    for (const pattern of [...patterns, /nginx\.conf:\d+/]) assert.match(said, pattern);
  });
}

const times = ['max_timeout', 'first_poll_timeout', 'poll_timeout', 'poll_idle', 'session_expiry'].map((name) => `matrix_sync_${name}`);
const others = ['matrix_sync_database_connections 2;', 'matrix_sync_sessions_per_device 5;', 'matrix_sync_body_size 64k;'];
const all = [...times.map((name) => `${name} 10s;`), ...others].join(' ');

loads('the smallest', {});
loads('database in the server', { http: '', server: database });
loads('database in the location', { http: '', location: `${database} ${sync}` });
loads('a database of one\'s own inside another', { location: `matrix_sync_database "service=other"; ${sync}` });
loads('a connection URI', { http: 'matrix_sync_database postgresql://someone@/x?host=/nowhere;' });
loads('everything in http', { http: `${database} ${all}` });
loads('everything in the server', { server: all });
loads('everything but connections in the location', { location: `${sync} ${times.map((name) => `${name} 10s;`).join(' ')} matrix_sync_sessions_per_device 5; matrix_sync_body_size 64k;` });
loads('a unix socket', { location: 'matrix_sync http://unix:/nowhere/socket;' });
loads('TLS', { location: 'matrix_sync https://127.0.0.1:8448;' });
loads('an upstream block', { http: `${database} upstream homeserver { server 127.0.0.1:1; server 127.0.0.1:2; keepalive 4; }`, location: 'matrix_sync http://homeserver;' });
loads('beside proxy_pass', { location: `${sync} proxy_pass ${url};` });
loads('two locations', { server: `location = /other { ${sync} }` });
loads('a poll location of one\'s own', { server: `location @polls { proxy_pass ${url}; }`, location: 'matrix_sync_poll_location @polls;' });
loads('off needs no database', { http: '', location: 'matrix_sync off;' });
for (const format of ['', ' json', ' prometheus']) loads(`the status page${format}`, { server: `location = /status { matrix_sync_status${format}; }` });
loads('variables in a log', { http: `${database} log_format sync "$matrix_sync_user $matrix_sync_wait"; access_log off;` });
loads('nothing of it', { http: '', location: 'return 204;' });
loads('time and size units', { http: `${database} matrix_sync_max_timeout 1m; matrix_sync_session_expiry 7d; matrix_sync_body_size 1m; matrix_sync_poll_timeout 500ms;` });

refused('no database', { http: '' }, /matrix_sync_database/);
refused('no value', { location: 'matrix_sync;' }, /invalid number of arguments in "matrix_sync"/);
refused('two values', { location: `matrix_sync ${url} ${url};` }, /invalid number of arguments in "matrix_sync"/);
refused('twice', { location: `${sync} ${sync}` }, /"matrix_sync" directive is duplicate|is duplicate/);
refused('database twice', { http: database + database }, /is duplicate/);
refused('in the server', { server: sync }, /"matrix_sync" directive is not allowed here/);
refused('in http', { http: database + sync }, /"matrix_sync" directive is not allowed here/);
refused('no scheme', { location: 'matrix_sync 127.0.0.1:8008;' }, /matrix_sync|invalid URL prefix/, /http:\/\//);
refused('another scheme', { location: 'matrix_sync ftp://127.0.0.1;' }, /invalid URL prefix|http:\/\//);
refused('a URI part', { location: `matrix_sync ${url}/path;` }, /matrix_sync/, /URI|path/, /matrix_sync_poll_location/);
refused('a slash as URI part', { location: `matrix_sync ${url}/;` }, /matrix_sync_poll_location/);
refused('a variable', { location: 'matrix_sync http://$host;' }, /variable/, /matrix_sync_poll_location/);
refused('a bad port', { location: 'matrix_sync http://127.0.0.1:port;' }, /invalid port/);
refused('a host that does not exist', { location: 'matrix_sync http://no-such-host.invalid;' }, /host not found/);
refused('a poll location without @', { location: 'matrix_sync_poll_location polls;' }, /matrix_sync_poll_location/, /@/);
refused('a poll location that does not exist', { location: 'matrix_sync_poll_location @polls;' }, /matrix_sync_poll_location/, /@polls/);
refused('a poll location that polls nothing', { server: 'location @polls { return 204; }', location: 'matrix_sync_poll_location @polls;' }, /@polls/, /proxy_pass/);
refused('a URL and a poll location', { server: `location @polls { proxy_pass ${url}; }`, location: `${sync} matrix_sync_poll_location @polls;` }, /matrix_sync/);
refused('not what libpq takes', { http: 'matrix_sync_database "nonsense";' }, /matrix_sync_database/, /nonsense/);
refused('an option that libpq does not know', { http: 'matrix_sync_database "colour=red";' }, /matrix_sync_database/, /colour/);
refused('status in a format that it has not', { server: 'location = /status { matrix_sync_status on; }' }, /"matrix_sync_status" has "json" and "prometheus", not "on"/);
refused('status twice', { server: 'location = /status { matrix_sync_status; matrix_sync_status prometheus; }' }, /is duplicate/);
refused('status in the server', { server: 'matrix_sync_status;' }, /not allowed here/);
for (const name of times) refused(`${name} that is no time`, { http: `${database} ${name} soon;` }, /invalid value/, new RegExp(name));
for (const name of times) refused(`${name} twice`, { http: `${database} ${name} 1s; ${name} 2s;` }, /is duplicate/);
refused('a cache of nothing', { http: `${database} matrix_sync_cache 0;` }, /matrix_sync_cache/, /above zero/);
refused('a cache size that is none', { http: `${database} matrix_sync_cache much;` }, /invalid value/, /matrix_sync_cache/);
for (const name of ['matrix_sync_database_connections', 'matrix_sync_sessions_per_device']) {
  refused(`${name} 0`, { http: `${database} ${name} 0;` }, new RegExp(name), /\d+ to \d+/);
  refused(`${name} that is no number`, { http: `${database} ${name} many;` }, new RegExp(`${name}|invalid number`));
}
refused('a body size that is none', { http: `${database} matrix_sync_body_size big;` }, /invalid value/, /matrix_sync_body_size/);

test('an error of the URL is reported where the directive stands', () => {
  const { said } = check({ location: '\n\n\nmatrix_sync http://127.0.0.1:port;' });
  const line = nginx.config().split('\n').findIndex((text) => text.includes('matrix_sync http:')) + 1;
  assert.match(said, new RegExp(`nginx\\.conf:${line}\\b`));
});

// Names of the example's own machine are put in place; everything else is loaded as it stands.
const examples = path.join(__dirname, '../conf/examples');
test('there are examples', () => assert.ok(fs.readdirSync(examples).length >= 3));
for (const name of fs.existsSync(examples) ? fs.readdirSync(examples).filter((each) => each.endsWith('.conf')) : []) {
  test(`loads: conf/examples/${name}`, async () => {
    const [key, certificate] = ['key', 'crt'].map((end) => path.join(dir, `example.${end}`));
    if (!fs.existsSync(key)) {
      execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=x', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
    }
    const example = fs.readFileSync(path.join(examples, name), 'utf8');
    const ports = {};
    for (const [listen] of example.matchAll(/listen\s+[^;\s]+/g)) ports[listen] ??= await freePort();
    let text = example
      .replace(/load_module\s+[^;]*matrix_sync[^;]*;/, `load_module ${so};`)
      .replace(/(ssl_certificate|proxy_ssl_trusted_certificate|ssl_trusted_certificate)(\s+)[^;]+;/g, `$1$2${certificate};`)
      .replace(/ssl_certificate_key(\s+)[^;]+;/g, `ssl_certificate_key$1${key};`)
      .replace(/listen\s+[^;\s]+/g, (listen) => `listen 127.0.0.1:${ports[listen]}`)
      .replace(/^\s*(pid|error_log|user)\s[^;]*;/gm, '');
    if (!/load_module/.test(text)) text = `load_module ${so};\n${text}`;
    if (!/events\s*\{/.test(text)) text += '\nevents {}\n';
    const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((each) => `${each}_temp_path ${nginx.prefix}/${each};`).join(' ');
    text = text.replace(/http\s*\{/, `http { access_log off; ${temp}`);
    const { ok, said } = nginx.check(`pid ${nginx.prefix}/nginx.pid;\n${text}`);
    assert.ok(ok, said);
  });
}

test('at the start the log says how many devices there is room for', async () => {
  Object.assign(nginx, { main: '', http: database, server: `location = /sync { ${sync} }`, connections: 512 });
  fs.writeFileSync(nginx.errorLog, '');
  await nginx.start();
  await nginx.quit();
  assert.match(nginx.log(), /\d+ devices/);
  nginx.assertCleanLog();
});
