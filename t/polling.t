#!/usr/bin/env node
// The poller (rules 1, 2, 4, 8): what it asks, how often, and when it stops.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({
  directives: 'matrix_sync_poll_timeout 1s;',
  serverDirectives: (self) => `location = /idle { matrix_sync ${self.url}; matrix_sync_poll_idle 1s; matrix_sync_poll_timeout 1s; }`,
});
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);

test('rule 4: the filter is ours: lazy members, 20 events at first and 50 after, no presence, nobody shown online', async () => {
  const device = s.homeserver.device();
  await s.session(device).sync();
  await until(() => device.polls.length >= 2);
  const [first, second] = device.polls;
  for (const [poll, limit] of [[first, 20], [second, 50]]) {
    assert.equal(poll.method, 'GET');
    assert.equal(poll.query.set_presence, 'offline');
    const filter = JSON.parse(poll.query.filter);
    assert.equal(filter.room.state.lazy_load_members, true);
    assert.equal(filter.room.timeline.limit, limit);
    assert.ok(filter.presence.limit === 0 || filter.presence.types?.length === 0 || filter.presence.not_types?.includes('*'), 'presence is off');
    assert.notEqual(filter.room.include_leave, true);
  }
  assert.equal(first.query.since, undefined);
  assert.equal(second.query.since, device.batch(0));
  assert.equal(second.query.timeout, '1000', 'matrix_sync_poll_timeout');
});

test('rule 12: state after the timeline is asked for where the homeserver has it', async () => {
  const device = s.homeserver.device();
  await s.session(device).sync();
  await until(() => device.polls.length >= 2);
  for (const { query } of device.polls) assert.ok(query.use_state_after === 'true' || query['org.matrix.msc4222.use_state_after'] === 'true', JSON.stringify(query));
});

test('the homeserver hears whom it serves', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.ask({}, { headers: { 'user-agent': 'Client/1.0', host: 'matrix.example' } });
  const [{ headers }] = device.polls;
  assert.equal(headers.authorization, `Bearer ${device.token}`);
  assert.equal(headers['x-forwarded-for'], '127.0.0.1');
  assert.equal(headers['x-forwarded-proto'], 'http');
  assert.equal(headers['user-agent'], 'Client/1.0');
  assert.match(headers.host, /^matrix\.example/);
  assert.equal(headers['accept-encoding'], undefined);
});

test('rule 1: one poll at a time, whatever the number of sessions and access tokens', async () => {
  const device = s.homeserver.device();
  const sessions = Array.from({ length: 5 }, () => s.session(device));
  device.newToken();
  sessions.push(s.session(device), s.session(device));
  await Promise.all(sessions.map((session) => session.sync({ to_device: {} })));
  for (let i = 0; i < 10; i++) {
    const waits = sessions.map((session) => session.sync({}, { timeout: 5000 }));
    device.toDevice(matrix.toDevice(`${i}`));
    for (const wait of waits) assert.deepEqual(bodies(await wait), [`${i}`]);
  }
  assert.equal(device.overlaps, 0);
  assert.equal(device.polls.filter((poll) => poll.query.since === undefined).length, 1);
});

test('polls follow each other without a pause, and only as often as they are answered', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: {} });
  await device.stored();
  const before = device.polls.length;
  const begun = Date.now();
  await session.sync({}, { timeout: 2500 });
  const polls = device.polls.length - before;
  assert.ok(polls >= 1 && polls <= 1 + Math.ceil((Date.now() - begun) / 1000), `${polls} polls`);
});

test('polling of a device stops matrix_sync_poll_idle after its last request, and goes on from there', async () => {
  const device = s.homeserver.device();
  const session = s.session(device, { at: '/idle' });
  await session.sync({ to_device: {} });
  await until(() => device.waiting.size === 1);
  await until(() => device.waiting.size === 0 && Date.now() - device.polls[device.polls.length - 1].at > 2500, 'polling stops', 20_000);
  const polls = device.polls.length;
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['1']);
  assert.equal(device.polls[polls].query.since, device.batch(0));
});

test('a waiting client keeps it polled', async () => {
  const device = s.homeserver.device();
  const session = s.session(device, { at: '/idle' });
  await session.sync({ to_device: {} });
  const wait = session.sync({}, { timeout: 8000 });
  await until(() => device.polls.length >= 5, 'polls go on', 10_000);
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await wait), ['1']);
});

test('5xx is waited out with back-off, and ends nothing', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: {} });
  await device.stored();
  device.failPolls({ status: 500, body: {} }, Infinity);
  const before = device.polls.length;
  device.toDevice(matrix.toDevice('1'));
  await session.sync({}, { timeout: 2500 });
  const tries = device.polls.length - before;
  assert.ok(tries >= 1 && tries <= 8, `${tries} tries in 2.5 s`);
  s.homeserver.heal();
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device, '', 40_000)), ['1']);
});

test('429: not before retry_after_ms', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: {} });
  await device.stored();
  device.failPolls({ status: 429, body: { errcode: 'M_LIMIT_EXCEEDED', error: 'x', retry_after_ms: 1500 } });
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['1']);
  const polls = device.polls.slice(-4);
  const gaps = polls.slice(1).map((poll, i) => poll.at - polls[i].at);
  assert.ok(Math.max(...gaps) >= 1490, `pauses of ${gaps} ms`);
});

test('rule 5: 403 is not 401, and ends nothing', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: {} });
  device.failPolls({ status: 403, body: { errcode: 'M_FORBIDDEN', error: 'x' } }, 1);
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device, '', 40_000)), ['1']);
});

test('a homeserver that goes and comes back', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: {} });
  await s.homeserver.refuse();
  await s.homeserver.open();
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device, '', 40_000)), ['1']);
});

test('an answer that never comes is given up', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: {} });
  device.failPolls({ never: true });
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device, '', 100_000)), ['1']);
}, { limit: 120_000 });
