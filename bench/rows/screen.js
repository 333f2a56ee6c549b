// The same screen, 20 rooms of 50 with their names and an event each, for a client that knows nothing yet: bytes and time, beside what Synapse
// itself answers, to classic sync and to its own sliding sync (MSC4186). The module knows the device already. Synapse keeps its answers for a
// while, and is always asked by a new one.
'use strict';

const assert = require('node:assert/strict');
const { request } = require('../../t/lib/client');
const { Synapse, unpack } = require('../../t/lib/synapse');
const { staged } = require('../staged');

const room_count = 50, shown = 20;
const warm_up = 2;

const filter = {
  presence: { not_types: ['*'] }, account_data: { not_types: ['*'] },
  room: { timeline: { limit: 1 }, state: { types: ['m.room.name'] }, ephemeral: { not_types: ['*'] }, account_data: { not_types: ['*'] } },
};
const classic = `/_matrix/client/v3/sync?timeout=0&filter=${encodeURIComponent(JSON.stringify(filter))}`;
const sliding = '/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=0';
const lists = { screen: { ranges: [[0, shown - 1]], required_state: [], timeline_limit: 1 } };

async function rooms(alice) {
  for (let i = 0; i < room_count; i++) {
    const room = await alice.createRoom({ name: `Room ${i}` });
    await alice.send(room, 'm.room.message', { msgtype: 'm.text', body: `What was said in room ${i}` });
  }
}

/** {bytes, ms} of an answer that holds so many rooms. */
function measured({ status, body, took, json }, of, count) {
  assert.equal(status, 200, body.toString());
  const found = of(json);
  assert.equal(found.length, count);
  assert.ok(found.every(({ timeline }) => (timeline.events ?? timeline).length === 1));
  return { bytes: body.length, ms: took };
}

async function screen(stage, figures) {
  const { homeserver: synapse } = stage;
  const alice = await synapse.register('alice');
  await rooms(alice);
  const reader = await alice.login();
  const page = { room_list: { p: { limit: shown } } };
  const v3 = async (device) => measured(await stage.session(device).ask(page, { timeout: 0 }), ({ room_list }) => room_list.rooms, shown);
  const ofSynapse = async (options) => request({ port: synapse.port, headers: { authorization: `Bearer ${(await alice.login()).token}` }, ...options });
  const ways = {
    module: () => v3(reader),
    unknown: async () => v3(await alice.login()),
    classic: async () => measured(await ofSynapse({ method: 'GET', path: classic }), (json) => Object.values(json.rooms.join), room_count),
    sliding: async () => measured(await ofSynapse({ path: sliding, body: { lists } }), (json) => Object.values(json.rooms), shown),
  };
  const found = Object.fromEntries(Object.keys(ways).map((way) => [way, []]));
  for (let run = -warm_up; run < figures.runs; run++) {
    for (const [way, ask] of Object.entries(ways)) {
      const answer = await ask();
      if (run >= 0) found[way].push(answer);
    }
  }
  const beside = (what, way, other, unit) => {
    const of = (each) => found[each].map((answer) => answer[unit]);
    figures.note(`${what}, beside ${other} sync`, unit, of(way), of(other), { ratio: 1 });
  };
  for (const unit of ['bytes', 'ms']) for (const other of ['classic', 'sliding']) beside(`${shown} rooms of ${room_count}`, 'module', other, unit);
  for (const other of ['classic', 'sliding']) beside('a device that has not been polled yet', 'unknown', other, 'ms');
}

module.exports = (figures) => {
  unpack();
  return staged((stage) => screen(stage, figures), { homeserver: new Synapse() });
};
