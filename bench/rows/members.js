// Pages of the members of a large room and changes of them, beside PostgreSQL giving as many events by primary key; the worker's CPU for them;
// and how many rows changes write.
'use strict';

const assert = require('node:assert/strict');
const { staged } = require('../staged');
const { user, Crowd } = require('../accounts');
const { load } = require('../wrk');
const { selected } = require('../pgbench');

const seconds = 1;
const limit = 50;
const later_page = 200;
const polls = 20;
const changes_in_poll = 50;
const page_cpu = { first: 1, later: 10 };     // milliseconds at most

/** A session that has a first page: {session, page}. */
async function begun({ stage, device, room }, sort) {
  const session = stage.session(device);
  const { room_members: page } = await session.sync({ room_members: { room_id: room.room_id, p: { limit, sort } } });
  assert.equal(page.p.count, room.count);
  return { session, page };
}

/** The request for a later page of a first page's snapshot, and who is on it. */
async function walk(it, sort) {
  const { session, page } = await begun(it, sort);
  const body = (since) => ({ room_members: { p: { since } } });
  let { next } = page.p;
  for (let number = 2; number < later_page; number++) next = (await session.ask(body(next), { timeout: 0 })).json.room_members.p.next;
  const users = async () => (await session.ask(body(next), { timeout: 0 })).json.room_members.events.map(({ state_key }) => state_key);
  return { request: request(session, body(next)), users };
}

const request = (session, body = {}) => [session.target({ timeout: 0 }), session.token, JSON.stringify(body)];

/** Rows of members that transactions after `xid` wrote: {began, ended}. */
function written(postgres, xid) {
  const rows = (where) => postgres.value(`SELECT count(*) FROM matrix_sync.member WHERE xmin::text::bigint > ${xid} AND until ${where}`);
  return { began: rows('IS NULL'), ended: rows('IS NOT NULL') };
}

/** Some changes come and are news to a session. Gives its request for them, and the transaction before them. */
async function change({ stage, device, room, figures, title }) {
  const { session } = await begun({ stage, device, room }, 'by_name');
  const xid = stage.postgres.value('SELECT txid_current()');
  device.push(room.changes(0, changes_in_poll, true));
  await device.stored();
  const { began, ended } = written(stage.postgres, xid);
  assert.deepEqual({ began, ended }, { began: changes_in_poll, ended: changes_in_poll });
  figures.note(`${title}: rows that ${changes_in_poll} changes begin`, '', [began], [], { most: changes_in_poll });
  const { json } = await session.ask('', { timeout: 0 });
  assert.equal(json.room_members.events.length, changes_in_poll);
  return { news: request(session), xid };
}

/** More of them, so far from each other that each is of another member. */
async function changeMore({ stage, device, room }, xid) {
  for (let poll = 1; poll < polls; poll++) device.push(room.changes(poll * changes_in_poll * 17, changes_in_poll, false));
  await device.stored();
  assert.equal(written(stage.postgres, xid).began, polls * changes_in_poll);
}

async function measure(it, name, asked, cpu_most) {
  const { stage, figures, title } = it;
  const [worker] = stage.nginx.workerPids();
  const refs = stage.postgres.query(`SELECT ref FROM matrix_sync.event WHERE type = 'm.room.member' ORDER BY hashtext(event_id) LIMIT ${limit}`).flat();
  const cpu = [];
  await figures.add(`${title}: ${name}`, 'ms', {
    measure: async () => {
      const found = await load({ port: stage.port, worker, requests: [asked], seconds });
      cpu.push(found.cpu);
      return found.ms;
    },
    anchor: () => selected(stage.postgres, refs, seconds),
    target: { ratio: 2 }, runs: Math.min(figures.runs, 3),
  });
  figures.note(`${title}: ${name}, worker's CPU`, 'ms', cpu, [], { most: cpu_most });
}

module.exports = (figures) => staged(async (stage) => {
  for (const count of [20_000, 100_000]) {
    const room = new Crowd(count);
    stage.homeserver.rooms[room.room_id] = room;
    const device = stage.homeserver.device(user);
    device.initial = room.firstPoll();
    const it = { stage, device, room, figures, title: `${count / 1000}k` };
    const later = {};
    for (const sort of ['by_pl', 'by_name']) {
      const { session } = await begun(it, sort);
      stage.postgres.query('ANALYZE');
      await measure(it, `first page ${sort}`, request(session, { room_members: { p: { since: '1' } } }), page_cpu.first);
      later[sort] = await walk(it, sort);
      later[sort].before = await later[sort].users();
    }
    const { news, xid } = await change(it);
    await measure(it, `${changes_in_poll} changes`, news);
    await changeMore(it, xid);
    for (const [sort, { request: asked, users, before }] of Object.entries(later)) {
      assert.deepEqual(await users(), before, 'the page is as the snapshot has it');
      await measure(it, `page ${later_page} ${sort}, ${polls * changes_in_poll} changes old`, asked, page_cpu.later);
    }
  }
});
