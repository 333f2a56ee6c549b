#!/usr/bin/env node
// Ways to the homeserver: TLS, a unix socket, an upstream block with failover, a location of one's own; and what an operator's rules for
// clients must not do to polls.
'use strict';

const { test, assert, until } = require('./lib/tap');
const path = require('node:path');
const { Stage, stage } = require('./lib/stage');
const { dir } = require('./lib/dir');
const { freePort } = require('./lib/port');
const matrix = require('./lib/matrix');

let tls, dead;
const open = 'allow all; auth_basic off; limit_req zone=much burst=100 nodelay;';
const s = stage({
  directives: open,
  http: () => `
    limit_req_zone $server_addr zone=little:64k rate=1r/m;
    limit_req_zone $server_addr zone=much:64k rate=1000r/s;
    upstream live { server 127.0.0.1:${s.homeserver.port}; keepalive 4; }
    upstream half { server 127.0.0.1:${dead}; server 127.0.0.1:${s.homeserver.port}; }`,
  serverDirectives: () => `
        proxy_ssl_trusted_certificate ${tls.certificate};
        proxy_ssl_verify on;
        proxy_ssl_name hs.test;
        proxy_set_header X-Inherited yes;
        proxy_connect_timeout 2s;
        deny all;
        auth_basic "no";
        auth_basic_user_file /nonexistent;
        limit_req zone=little;
        error_page 401 403 404 500 502 503 504 /error;
        location = /error { ${open} return 200 "{}"; }
        location = /tls { ${open} matrix_sync https://127.0.0.1:${tls.port}; }
        location = /unix { ${open} matrix_sync http://unix:${dir}/homeserver.sock; }
        location = /upstream { ${open} matrix_sync http://live; }
        location = /failover { ${open} matrix_sync http://half; }
        location = /own { ${open} matrix_sync_poll_location @polls; }
        location @polls { ${open} proxy_pass ${s.url}; proxy_set_header X-Own yes; proxy_set_header Connection ""; proxy_http_version 1.1; proxy_buffering off; }
        location = /misconfigured { ${open} matrix_sync_poll_location @refuses; }
        location @refuses { allow all; auth_basic "x"; auth_basic_user_file /dev/null; proxy_pass ${s.url}; }
        location = /closed { matrix_sync ${s.url}; }`,
});
// The stage's start needs these addresses.
const { start } = Stage.prototype;
s.start = async function startAll() {
  await this.homeserver.listen({ path: path.join(dir, 'homeserver.sock') });
  tls = await this.homeserver.listenTls();
  dead = await freePort();
  await start.call(this);
};

const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);

/** A first answer, and a message that arrives by a poll. */
async function works(at) {
  const device = s.homeserver.device();
  const session = s.session(device, { at });
  const first = await until(async () => {
    const got = await session.ask({ to_device: {} });
    return got.status === 200 && got;
  }, 'a first answer', 20_000);
  session.next = first.json.next;
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device, '', 20_000)), ['1']);
  return device;
}

test('rules of the server for clients (deny, auth_basic, limit_req, error_page) do not touch polls', async () => {
  await works();
});

test('TLS, verified', async () => {
  const device = await works('/tls');
  assert.ok(device.polls.every((poll) => poll.tls));
});

test('a unix socket', async () => { await works('/unix'); });

test('an upstream block with keepalive', async () => { await works('/upstream'); });

test('an upstream block of which one server is dead', async () => { await works('/failover'); });

test('a poll location of one\'s own', async () => {
  const device = await works('/own');
  assert.ok(device.polls.every((poll) => poll.headers['x-own'] === 'yes'));
});

test('rule 5: a 401 that nginx made itself is no logout', async () => {
  const answer = await s.session(s.homeserver.device(), { at: '/misconfigured' }).ask();
  assert.equal(answer.status, 502);
  assert.equal(answer.json.errcode, 'M_UNKNOWN');
});

test('the same rules do hold for clients', async () => {
  const answer = await s.session(s.homeserver.device(), { at: '/closed' }).ask();
  assert.notEqual(answer.headers['access-control-allow-origin'], '*');
  assert.equal(s.homeserver.devices[s.homeserver.devices.length - 1].polls.length, 0);
});

test('an error_page of the server does not replace our errors', async () => {
  const answer = await s.session({ token: 'secret_nobody' }).ask();
  assert.equal(answer.status, 401);
  assert.equal(answer.json.errcode, 'M_UNKNOWN_TOKEN');
});
