// Members of a room are only fetched when somebody looks at them: until the first page of 20,000 is there, and pages after that.
'use strict';

const { staged } = require('../staged');
const { account, largest, members, polled } = require('../accounts');
const { load } = require('../wrk');
const { took } = require('../figures');

const member_count = 20_000;

module.exports = (figures) => staged(async (stage) => {
  const { rooms, initial } = account(largest, true);
  const { session } = await polled(stage, initial);
  const first = [], next = [];
  for (const room_id of rooms.slice(0, figures.runs)) {
    // Made before it is asked for.
    const raw = Buffer.from(JSON.stringify({ chunk: members(room_id, member_count) }));
    stage.homeserver.fail((seen) => seen.path.endsWith('/members'), { raw });
    const look = { room_members: { room_id, p: { since: '1' } } };
    first.push(await took(() => session.sync(look, { timeout: 0 })));
    const requests = [[session.target({ timeout: 0 }), session.token, JSON.stringify(look)]];
    next.push((await load({ port: stage.port, requests })).ms);
  }
  figures.note('first look at 20,000 members that are lazily loaded', 'ms', first, [], { most: 1000 });
  figures.note('the next looks', 'ms', next, [], { most: 2 });
});
