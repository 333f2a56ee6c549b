// How large the database becomes: with an account of 3,000 rooms and all their members, after a day's traffic, and when what nobody can ask for
// any more is gone; beside the events' JSON. An empty database, which is some megabytes, is taken off. A day is 1,000,000 events, 100,000 of them
// of state; to save time it is a twentieth of them in a twentieth of the rooms, and what it adds is measured.
'use strict';

const { randomBytes } = require('node:crypto');
const matrix = require('../../t/lib/matrix');
const { until } = require('../../t/lib/tap');
const { staged } = require('../staged');
const { account, largest, polled } = require('../accounts');
const { sum } = require('../figures');

const event_count = 50_000;
const busy = 150;                 // rooms that they come in
const state_part = 10;            // one of so many events is a state event
const megabyte = 1e6;
const text = 'What people say to each other in a room, some of it short and some of it long enough for a whole paragraph. '.repeat(3);

const bytes = (event) => Buffer.byteLength(JSON.stringify(event));
const size = ({ postgres }) => postgres.value('SELECT pg_database_size(current_database())');

/** An event as homeservers give it: with an ID of 44 characters and what `unsigned` always has. */
function event(number) {
  const fields = { event_id: `$${randomBytes(32).toString('base64url')}`, sender: `@member_${number % 997}:hs.test`, unsigned: { age: 123 } };
  const said = text.slice(0, 20 + ((number * 7919) % 280));
  return number % state_part === 0 ? matrix.state('m.room.topic', { topic: said }, fields) : matrix.message(said, fields);
}

/** Polls with an event of each room, so that each event is an entry of its own in the log, as it mostly is. Gives the events' bytes. */
async function day(device, rooms) {
  let total = 0;
  const polls = Math.ceil(event_count / rooms.length);
  for (let poll = 0; poll < polls; poll++) {
    device.push((next_batch) => {
      const made = rooms.map((room_id, i) => [room_id, event(poll + i)]);
      total += sum(made.map(([, each]) => bytes(each)));
      return JSON.stringify({ next_batch, ...matrix.join(Object.fromEntries(made.map(([room_id, each]) => [room_id, matrix.more(each)]))) });
    });
  }
  await until(() => device.quiet, 'the day is over', 900_000);
  return total;
}

/** Until nothing is left that could go. */
const pruned = ({ postgres }) => until(() => postgres.value(`
  SELECT NOT EXISTS (SELECT FROM matrix_sync.room WHERE sweep > 0)
    AND NOT EXISTS (SELECT FROM matrix_sync.log l JOIN matrix_sync.device d ON d.id = l.device WHERE l.seq > d.pruned)`) === 't', 'all is pruned', 900_000);

module.exports = (figures) => staged(async (stage) => {
  /** What has come since it had `before`, beside the events' bytes. */
  const note = (name, before, anchor, target = {}) => figures.note(name, 'MB', [(size(stage) - before) / megabyte], [anchor / megabyte], target);
  const empty = size(stage);
  const { rooms, initial } = account(largest, false);
  const events = Object.values(JSON.parse(initial('')).rooms.join).flatMap(({ state, timeline }) => [...state.events, ...timeline.events]);
  const { device, session } = await polled(stage, initial);
  note('3,000 rooms with all members', empty, sum(events.map(bytes)), { ratio: 1.5 });
  stage.postgres.query('ANALYZE');

  let over = false;
  const client = (async () => { while (!over) await session.sync('', { timeout: 1000 }); })();
  const before = size(stage);
  const came = await day(device, rooms.slice(-busy));
  note("a twentieth of a day's traffic adds", before, came);
  await pruned(stage);
  note('the same after pruning', before, came, { ratio: 1.5 });
  over = true;
  await client;
  await stage.nginx.stop();
  stage.postgres.query('VACUUM FULL');
  note('all packed, beside the events that are left', empty, stage.postgres.value('SELECT sum(octet_length(body)) FROM matrix_sync.event'), { ratio: 1.5 });
}, { directives: 'matrix_sync_session_expiry 20s;' });
