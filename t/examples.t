#!/usr/bin/env node
// Every configuration in conf/examples is loaded by nginx and served with, as it stands but for addresses and files: of those, each that is
// replaced must be there.
'use strict';

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const https = require('node:https');
const path = require('node:path');
const { test, before, last, after, onFailure, assert, until } = require('./lib/tap');
const { Homeserver } = require('./lib/homeserver');
const { Postgres } = require('./lib/postgres');
const { Nginx, so } = require('./lib/nginx');
const { freePort } = require('./lib/port');
const { request, path: syncPath } = require('./lib/client');
const { dir } = require('./lib/dir');
const matrix = require('./lib/matrix');

const examples = path.join(__dirname, '../conf/examples');
const homeserver = new Homeserver();
const postgres = new Postgres();
const running = [];
let tls;

before(async () => {
  await homeserver.listen();
  await postgres.start();
  tls = await homeserver.listenTls();
});
after(async () => {
  for (const nginx of running) await nginx.stop();
  await postgres.end();
});
onFailure(() => running.map((nginx) => nginx.log()).join('\n'));

/** An example with its addresses and files replaced: {what stands there: what is put in its place}. Ports get free ones: ports[443]. */
async function adapted(name, replacements) {
  const nginx = new Nginx();
  nginx.ports = {};
  let text = fs.readFileSync(path.join(examples, name), 'utf8');
  const all = { 'modules/ngx_http_matrix_sync_module.so': so, ...replacements };
  for (const [from, to] of Object.entries(all)) {
    assert.ok(text.includes(from), `${name} says ${from}`);
    text = text.replaceAll(from, to);
  }
  for (const [, port] of text.matchAll(/listen (\d+)/g)) nginx.ports[port] ??= await freePort();
  text = text.replace(/listen (\d+)/g, (_, port) => `listen 127.0.0.1:${nginx.ports[port]}`);
  text = text.replace(/^worker_rlimit_nofile .*$/m, ''); // a right that the tests may not have
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${nginx.prefix}/${kind};`).join(' ');
  const own = `daemon off; pid ${nginx.prefix}/nginx.pid; error_log ${nginx.errorLog} info;\n`;
  text = own + text.replace('http {', `http { access_log ${nginx.prefix}/access.log; ${temporary}`);
  nginx.config = () => text;
  nginx.port = nginx.ports[443] || nginx.ports[80];
  running.push(nginx);
  return nginx;
}

/** Loads it with nginx -t and serves with it. */
async function start(name, replacements) {
  const nginx = await adapted(name, replacements);
  const checked = nginx.check();
  assert.ok(checked.ok, checked.said);
  await nginx.start();
  return nginx;
}

/** A typist reaches a client: polling, storage and answering work. */
async function typistReaches(ask) {
  const device = homeserver.device();
  const room = matrix.roomId();
  device.initial = matrix.join({ [room]: matrix.room(device.user_id) });
  let next;
  const sync = async (body, timeout) => {
    const answer = await ask(`${syncPath}?timeout=${timeout}${next ? `&since=${next}` : ''}`, device.token, body);
    assert.equal(answer.status, 200, String(answer.body));
    next = answer.json.next;
    return answer.json;
  };
  await until(async () => (await ask(syncPath, device.token, {})).status === 200, 'a first answer');
  await sync({ typing: { room_id: room } }, 0);
  device.push(matrix.typing(room, '@someone:hs.test'));
  const seen = await until(async () => (await sync({}, 1000)).typing, 'a typist');
  assert.deepEqual(seen.events[0].content.user_ids, ['@someone:hs.test']);
}

const plain = (port) => (target, token, body) =>
  request({ port, path: target, body, headers: { authorization: `Bearer ${token}`, host: 'matrix.example.org' } });

/** As request() of lib/client, with TLS and the name that the server block goes by. */
function secure(port, target, { name = 'matrix.example.org', method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path: target, method, servername: name, rejectUnauthorized: false, agent: false };
    https.request({ ...options, headers: { host: name, ...headers } }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => { text += part; }).on('end', () => resolve({
        status: response.statusCode, headers: response.headers, body: text, get json() { return JSON.parse(text); },
      }));
    }).on('error', reject).end(body && JSON.stringify(body));
  });
}

const database = { 'host=/run/postgresql dbname=syncv3': () => postgres.conninfo() };
const local = () => ({ 'http://127.0.0.1:8008': `http://127.0.0.1:${homeserver.port}` });

test('every example is tested here', () => {
  assert.deepEqual(fs.readdirSync(examples).sort(), ['minimal.conf', 'synapse.conf', 'tls-homeserver.conf']);
});

test('minimal.conf: the README shows this very configuration', () => {
  const readme = fs.readFileSync(path.join(__dirname, '../README.md'), 'utf8');
  const lines = (text) => text.split('\n').map((line) => line.trim()).filter(Boolean);
  const shown = /```nginx\n([^]*?)```/.exec(readme)[1];
  assert.deepEqual(lines(shown), lines(fs.readFileSync(path.join(examples, 'minimal.conf'), 'utf8')).filter((line) => !line.startsWith('# ')));
});

test('minimal.conf: sync v3 by POST, the homeserver\'s own by GET', async () => {
  const nginx = await start('minimal.conf', { ...database, ...local() });
  await typistReaches(plain(nginx.ports[80]));
  const device = homeserver.device();
  const answer = await request({ port: nginx.ports[80], method: 'GET', path: syncPath, headers: { authorization: `Bearer ${device.token}` } });
  assert.deepEqual(answer.json, { next_batch: device.batch(0) });
});

test('synapse.conf: sync v3, classic sync, media, federation and .well-known beside each other', async () => {
  const [key, certificate] = makeCertificate('matrix.example.org');
  const user = process.getuid() === 0 ? 'www-data' : execFileSync('id', ['-un'], { encoding: 'utf8' }).trim();
  const nginx = await start('synapse.conf', {
    'host=/run/postgresql dbname=syncv3 user=syncv3 passfile=/etc/nginx/syncv3.pgpass': () => `${postgres.conninfo()} connect_timeout=10`,
    'server 127.0.0.1:8008;': `server 127.0.0.1:${homeserver.port};`,
    '/etc/ssl/matrix.example.org.crt': certificate, '/etc/ssl/matrix.example.org.key': key, 'user www-data;': `user ${user};`,
  });
  const port = nginx.ports[443];
  await typistReaches((target, token, body) => secure(port, target, { method: 'POST', body, headers: { authorization: `Bearer ${token}` } }));

  const device = homeserver.device();
  const classic = await secure(port, syncPath, { headers: { authorization: `Bearer ${device.token}` } });
  assert.deepEqual(classic.json, { next_batch: device.batch(0) });
  for (const [at, target] of [[port, '/_matrix/media/v3/upload'], [nginx.ports[8448], '/_matrix/federation/v1/version'], [port, '/_synapse/client/x']]) {
    await secure(at, target);
    const seen = homeserver.requests.at(-1);
    assert.equal(seen.path, target);
    assert.equal(seen.headers.host, 'matrix.example.org');
    assert.equal(seen.headers['x-forwarded-proto'], 'https');
  }
  const upload = await secure(port, '/_matrix/media/v3/upload', { method: 'POST', body: 'x'.repeat(2_000_000) });
  assert.notEqual(upload.status, 413, 'media may be large');
  assert.equal((await secure(port, '/_matrix/client/v3/rooms/x/send', { method: 'POST', body: 'x'.repeat(2_000_000) })).status, 413);

  const wellKnown = (kind) => secure(port, `/.well-known/matrix/${kind}`, { name: 'example.org' });
  assert.equal((await wellKnown('client')).json['m.homeserver'].base_url, 'https://matrix.example.org');
  assert.equal((await wellKnown('server')).json['m.server'], 'matrix.example.org:443');
  assert.equal((await secure(port, '/matrix_sync_status')).status, 200);
  const redirected = await request({ port: nginx.ports[80], method: 'GET', path: '/x', headers: { host: 'example.org' } });
  assert.deepEqual([redirected.status, redirected.headers.location], [301, 'https://example.org/x']);
});

const tlsReplacements = (more) => ({
  ...database, '192.0.2.10:443': `127.0.0.1:${tls.port}`, 'matrix.internal': 'hs.test', '/etc/ssl/certs/internal-ca.crt': tls.certificate, ...more,
});

test('tls-homeserver.conf: polls go over TLS', async () => {
  const nginx = await start('tls-homeserver.conf', tlsReplacements());
  await typistReaches(plain(nginx.ports[80]));
  const polls = homeserver.devices.at(-1).polls;
  assert.ok(polls.length > 0 && polls.every((poll) => poll.tls));
});

test('tls-homeserver.conf: a homeserver with a certificate of somebody else gets no token', async () => {
  for (const wrong of [{ 'matrix.internal': 'other.test' }, { '/etc/ssl/certs/internal-ca.crt': makeCertificate('hs.test')[1] }]) {
    const nginx = await start('tls-homeserver.conf', tlsReplacements(wrong));
    const device = homeserver.device();
    const before = homeserver.requests.length;
    const answer = await until(async () => {
      const asked = await plain(nginx.ports[80])(syncPath, device.token, {});
      return asked.status !== 503 && asked;
    }, 'a connection to PostgreSQL');
    assert.equal(answer.status, 502);
    assert.equal(homeserver.requests.length, before, 'no request came through');
  }
});

last('nginx ends gracefully, its logs are clean and hold no access token', async () => {
  const secrets = homeserver.devices.flatMap((device) => device.tokens);
  for (const nginx of running) {
    assert.deepEqual(await nginx.quit(), { code: 0, signal: null });
    nginx.assertCleanLog({ secrets });
  }
});

let certificates = 0;
function makeCertificate(name) {
  const files = ['key', 'crt'].map((kind) => path.join(dir, `certificate${certificates}.${kind}`));
  certificates++;
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', `/CN=${name}`,
    '-addext', `subjectAltName=DNS:${name}`, '-keyout', files[0], '-out', files[1]], { stdio: 'ignore' });
  return files;
}
