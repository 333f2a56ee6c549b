#!/usr/bin/env node
// How many instructions the hot paths take, counted by callgrind, which counts the same whatever else the machine does. They have to be those
// of bench/instructions.json, within its tolerance: who makes a path longer sees it, and who makes it shorter keeps it so.
// `INSTRUCTIONS=write t/instructions.t` puts the new counts into the file.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const file = path.join(__dirname, '../bench/instructions.json');
const logs = process.env.TAP_LOGS || path.join(__dirname, '../build');
const tolerance = 0.03;   // the same module differs by less than 1 % from run to run
// Each request for the status page ends one count and begins the next.
const s = stage({ directives: 'matrix_sync_sessions_per_device 100;', under: (prefix) => ['valgrind', '--tool=callgrind', `--callgrind-out-file=${prefix}/callgrind.%p`,
  '--compress-strings=no', '--dump-before=matrix_sync::serve_status(ngx_http_request_s?)'] });
const rooms = Array.from({ length: 10 }, () => matrix.roomId());
const counted = {}, profiles = {};

/** Instructions of the worker while something goes on, and callgrind's profile of them. */
async function instructions(run) {
  await s.status();
  await run();
  await s.status();
  const prefix = path.join(s.nginx.prefix, `callgrind.${s.nginx.workerPids()[0]}.`);
  const newest = Math.max(...fs.readdirSync(s.nginx.prefix).filter((name) => /^callgrind\.\d+\.\d+$/.test(name)).map((name) => Number(name.split('.')[2])));
  const profile = fs.readFileSync(prefix + newest, 'latin1');
  return { profile, count: Number(/^totals: (\d+)/m.exec(profile)[1]) };
}

/** What one more of something takes: the difference of many and few. */
async function each(name, few, many, run) {
  await run(few);
  const [less, more] = [await instructions(() => run(few)), await instructions(() => run(many))];
  counted[name] = Math.round((more.count - less.count) / (many - few));
  profiles[name] = more.profile;
}

const messages = (count) => matrix.join(Object.fromEntries(rooms.map((room) =>
  [room, matrix.more(...Array.from({ length: count / rooms.length }, (_, i) => matrix.message(`message ${i}`)))])));

test('a request that brings nothing', async () => {
  const session = s.session(s.homeserver.device());
  await session.sync({ room_list: {}, to_device: {} });
  await each('request without news', 20, 220, async (count) => {
    for (let i = 0; i < count; i++) await session.sync('');
  });
});

test('an event of an answer that is parsed and stored', async () => {
  const device = s.homeserver.device();
  device.initial = matrix.join(Object.fromEntries(rooms.map((room) => [room, matrix.room(device.user_id)])));
  await s.session(device).sync({ to_device: {} });
  await each('event parsed and stored', 10, 410, async (count) => {
    device.push(messages(count));
    await device.stored();
  });
});

test('a client that waits and is told of a message', async () => {
  const device = s.homeserver.device();
  const room = () => matrix.room(device.user_id, [matrix.member('@someone:hs.test')]);
  device.initial = matrix.join(Object.fromEntries(rooms.map((id) => [id, room()])));
  const sessions = Array.from({ length: 50 }, () => s.session(device));
  for (const session of sessions) await session.sync({ room: { room_id: rooms[0] }, room_list: {} });
  await each('client woken', 5, 45, async (count) => {
    for (const session of sessions) await session.sync('');
    const waits = sessions.slice(0, count).map((session) => session.sync('', { timeout: 60_000 }));
    await s.waiting(count);   // whose last request begins the count
    device.push(matrix.join({ [rooms[0]]: matrix.more(matrix.message('news')) }));
    await Promise.all(waits);
    await device.stored();
  });
});

test('as many instructions as before', () => {
  assert.equal(Object.keys(counted).length, 3, 'everything was counted');
  if (process.env.INSTRUCTIONS === 'write') fs.writeFileSync(file, `${JSON.stringify(counted, null, 2)}\n`);
  const before = JSON.parse(fs.readFileSync(file, 'utf8'));
  assert.deepEqual(Object.keys(counted), Object.keys(before));
  const other = Object.keys(counted).filter((name) => !(Math.abs(counted[name] / before[name] - 1) <= tolerance));
  const kept = other.map((name) => {
    const profile = path.join(logs, `callgrind.${name.replaceAll(' ', '-')}`);
    fs.writeFileSync(profile, profiles[name], 'latin1');
    return `${name}: ${counted[name]} instructions, not ${before[name]}; callgrind_annotate ${profile}`;
  });
  assert.deepEqual(kept, [], 'if it is meant to be so: INSTRUCTIONS=write t/instructions.t');
});
