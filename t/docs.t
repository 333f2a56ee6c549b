#!/usr/bin/env node
// Every exchange of docs/api.md is made and must be answered as the page says. `DOCS=write t/docs.t` puts the answers into the page.
// docs/operating.md and docs/directives.md name every metric, key, variable and log line that there is, and no others; their SQL is run.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { request } = require('./lib/client');
const matrix = require('./lib/matrix');

const s = stage({ serverDirectives: 'location = /metrics { matrix_sync_status prometheus; }' });
const top = path.join(__dirname, '..');
const read = (name) => fs.readFileSync(path.join(top, name), 'utf8');
const api = path.join(__dirname, '..', 'docs', 'api.md');
const room = '!tea:hs.test';
const bob = '@bob:hs.test';
let alice;

/** What happens before an exchange, or while it waits; the page names it in a comment. */
const happenings = {
  'bob types': () => alice.push(matrix.typing(room, bob)),
  'bob stops while it waits': { during: () => alice.push(matrix.typing(room)) },
  'bob sends a message to the device': {
    during: () => alice.toDevice({ type: 'm.room_key_request', sender: bob, content: { action: 'request_cancellation', request_id: 'r1', requesting_device_id: 'BOBPHONE' } }),
  },
  'carol has a new device, one-time keys are low': () =>
    alice.push({ device_lists: { changed: ['@carol:hs.test'], left: [] }, device_one_time_keys_count: { signed_curve25519: 12 }, device_unused_fallback_key_types: ['signed_curve25519'] }),
  'the user has account data': () => alice.push({ account_data: { events: [{ type: 'm.direct', content: { [bob]: ['!dm:hs.test'] } }] } }),
  'a new session opens its first screen': () => {},
  'the next page': () => {},
  'bob writes while it waits': { during: () => alice.push(matrix.join({ [room]: { ...matrix.more(said('second', 8, bob, 'or coffee?')), unread_notifications: { highlight_count: 0, notification_count: 2 } } })) },
  'bob invites the user while it waits': {
    during: () => alice.push({ rooms: { invite: { '!party:hs.test': { invite_state: { events: [
      stripped('m.room.create', { room_version: '10' }), stripped('m.room.join_rules', { join_rule: 'invite' }), stripped('m.room.name', { name: 'Party' }),
      { ...stripped('m.room.member', { membership: 'invite' }), state_key: '@alice:hs.test', origin_server_ts: 1_767_226_110_000 },
    ] } } } } }),
  },
  'bob removes the user from a room while it waits': {
    during: () => alice.push({ rooms: { leave: { [lounge]: matrix.more(fixed(matrix.member('@alice:hs.test', 'leave', { sender: bob }), 'removed', 8)) } } }),
  },
  'the client opens a room': () => {},
  'bob renames the room and reads along while it waits': {
    during: () => alice.push(matrix.join({ [room]: {
      ...matrix.more(fixed(matrix.state('m.room.name', { name: 'Coffee' }, { sender: bob }), 'coffee_name', 9)),
      ephemeral: { events: [{ type: 'm.receipt', content: { $second: { 'm.read': { [bob]: { ts: 1_767_226_140_000 } } } } }] },
    } })),
  },
  'the client looks at the members': () => {},
  'carol leaves while it waits': { during: () => alice.push(matrix.join({ [room]: matrix.more(fixed(matrix.member(carol, 'leave'), 'carol_leaves', 10)) })) },
  'a page token made up': () => {},
  'nothing happens': () => {},
  'a bad body': () => {},
};

const exchange = /<!-- (.*?) -->\n```http\nPOST (\S+)\n(?:\n([\s\S]*?))?```\n```json(?: (\d+))?\n([\s\S]*?)```/g;

const lounge = '!lounge:hs.test';
const carol = '@carol:hs.test';

const stripped = (type, content) => ({ type, state_key: '', sender: bob, content });
/** Everything in an event that a run would make anew. */
const fixed = (event, id, minute) => ({ ...event, event_id: `$${id}`, origin_server_ts: 1_767_225_600_000 + minute * 60_000 });
const said = (id, minute, sender, body) => fixed(matrix.message(body, { sender }), id, minute);
const joined = (id, minute, user, displayname) => fixed(matrix.member(user, 'join', { content: { membership: 'join', displayname } }), id, minute);
const teaMembers = [joined('alice_joins', 1, '@alice:hs.test', 'Alice'), joined('bob_joins', 2, bob, 'Bob'), joined('carol_joins', 3, carol, 'Carol')];

const made = (version, id) => fixed(matrix.create({ content: { room_version: version } , sender: bob }), id, 0);
const tea = {
  state: { events: [made('10', 'tea'), fixed(matrix.state('m.room.name', { name: 'Tea' }, { sender: bob }), 'tea_name', 4), ...teaMembers.slice(0, 2)] },
  timeline: { events: [said('first', 5, bob, 'tea?')], limited: true, prev_batch: 'p_tea' },
  summary: { 'm.heroes': [bob, carol], 'm.joined_member_count': 3, 'm.invited_member_count': 0 },
  unread_notifications: { highlight_count: 0, notification_count: 1 },
};
const loungeRoom = {
  state: { events: [made('10', 'lounge'), fixed(matrix.state('m.room.topic', { topic: 'Anything' }, { sender: carol }), 'topic', 6), joined('bob_too', 6, bob, 'Bob')] },
  timeline: { events: [said('hello', 7, carol, 'hello')], limited: true, prev_batch: 'p_lounge' },
  summary: { 'm.heroes': [bob, carol], 'm.joined_member_count': 3, 'm.invited_member_count': 0 },
};

async function make(happening, target, body, port) {
  const { during } = happening;
  if (!during) {
    await happening();
    await alice.stored();
  }
  const answering = request({ port, path: target, body: body || '', headers: { authorization: `Bearer ${alice.token}` } });
  if (during) {
    await s.waiting(1);
    await during();
  }
  return answering;
}

test('the exchanges of docs/api.md', async () => {
  alice = s.homeserver.device('@alice:hs.test', 'ALICEPHONE');
  alice.initial = matrix.join({ [room]: tea, [lounge]: loungeRoom });
  s.homeserver.rooms[room] = { members: teaMembers };
  await s.session(alice).sync();
  let text = fs.readFileSync(api, 'utf8');
  let next;
  let page;
  let count = 0;
  for (const [whole, what, target, body, status = '200', written] of text.matchAll(exchange)) {
    assert.ok(happenings[what], `the page says «${what}», which this test cannot do`);
    const answer = await make(happenings[what], target.replace('NEXT', next), body?.replace('PAGE', page), s.port);
    assert.equal(answer.status, Number(status), what);
    const json = answer.json;
    if (json.next) {
      next = json.next;
      json.next = 'NEXT';
    }
    for (const { p } of Object.values(json)) {
      if (!p?.next) continue;
      page = p.next;
      p.next = 'PAGE';
    }
    if (process.env.DOCS === 'write') {
      text = text.replace(whole, whole.slice(0, whole.lastIndexOf(written)) + JSON.stringify(json, null, 2) + '\n```');
    } else {
      assert.deepEqual(json, JSON.parse(written || 'null'), what);
    }
    count++;
  }
  assert.equal(count, Object.keys(happenings).length, 'every exchange was made');
  if (process.env.DOCS === 'write') fs.writeFileSync(api, text);
});

const sorted = (names) => [...new Set(names)].sort();
const operating = read('docs/operating.md');
const directives = read('docs/directives.md');
/** The rows of the tables in a part of a page, as their first cells. */
const part = (text, title) => text.split(/^## /m).find((each) => each.startsWith(`${title}\n`));
const firstCells = (text) => [...text.matchAll(/^\| ([^|]*?) \|/gm)].map(([, cell]) => cell);

test('docs/operating.md has every metric, and no other', async () => {
  const { body } = await s.request({ method: 'GET', path: '/metrics' });
  const given = [...body.toString().matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  const described = firstCells(part(operating, 'Monitoring')).flatMap((cell) => /^`(matrix_sync_\w+)`$/.exec(cell)?.[1] ?? []);
  assert.deepEqual(sorted(described), sorted(given));
  const used = [...operating.matchAll(/matrix_sync_\w+(?=[ `{[])/g)].map(([name]) => name.replace(/_bucket$/, ''));
  const known = new Set([...given, ...[...directives.matchAll(/^## (\S+)/gm)].map(([, name]) => name), ...[...directives.matchAll(/\$(matrix_sync_\w+)/g)].map(([, name]) => name),
    'matrix_sync_metrics', 'matrix_sync_figures']);
  assert.deepEqual(used.filter((name) => !known.has(name)), []);
  const reasons = [...body.toString().matchAll(/reason="(\w+)"/g)].map(([, reason]) => reason);
  const told = [.../^Reasons of failures:.*?\n\n/ms.exec(operating)[0].matchAll(/`(\w+)` \(/g)].map(([, reason]) => reason);
  assert.deepEqual(sorted(told), sorted(reasons));
});

test('docs/directives.md has every key of the status page, and no other', async () => {
  const keys = (value, above = '') => Object.entries(value).flatMap(([key, inner]) => {
    if (Array.isArray(inner)) return [`${key}[]`, ...keys(inner[0])];
    if (key === 'postgresql') return Object.keys(inner).map((each) => `${key}.${each}`);
    return [above + key];
  });
  const described = firstCells(part(directives, 'matrix_sync_status')).flatMap((cell) => {
    const names = [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name);
    return names.map((name) => (name.startsWith('.') ? names[0].split('.')[0] + name : name));
  });
  assert.deepEqual(sorted(described), sorted(keys(await s.status())));
});

test('docs/directives.md has every directive and variable, and no other', () => {
  const written = [...read('src/nginx/directives.cpp').matchAll(/(?:ngx_string|time_directive)\("(matrix_sync\w*)"/g)].map(([, name]) => name);
  assert.deepEqual(sorted([...directives.matchAll(/^## (matrix_sync\w*)/gm)].map(([, name]) => name)), sorted(written));
  const variables = [...read('src/nginx/variables.cpp').matchAll(/"(matrix_sync_\w+)"/g)].map(([, name]) => `$${name}`);
  assert.deepEqual(sorted([...directives.matchAll(/\$matrix_sync_\w+/g)].map(([name]) => name)), sorted(variables));
});

/** What the source writes to the log, each line as the texts that it always has. */
function logLines() {
  const lines = [];
  for (const file of fs.readdirSync(path.join(top, 'src'), { recursive: true }).filter((name) => name.endsWith('.cpp') || name.endsWith('failing.hpp'))) {
    const source = read(`src/${file}`).replace(/"\s*\n\s*"/g, '');
    const calls = /(?:\blog_?\(|\.write\(|log_change\(|log_line\(|lines_\.push_back\(|[^:]\bfailed\(|ngx_log_error\()(?=[^;{]*")([\s\S]*?);\n/g;
    for (const [, call] of source.matchAll(calls)) {
      if (/NGX_LOG_EMERG/.test(call)) continue; // the configuration's
      const texts = [...call.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text]) => text.split(/%\*?\w+/)).flat()
        .map((text) => text.replace(/^matrix_sync: |^[:;,] ?| ?$/g, '').trim()).filter((text) => / /.test(text));
      if (texts.length) lines.push({ file, texts });
    }
  }
  return lines;
}

test('docs/operating.md has every log line, and no other', () => {
  const cells = firstCells(part(operating, 'The error log').replace(/^\| \w+ (?=\|)/gm, '')).filter((cell) => cell.startsWith('`')).map((cell) => cell.slice(1, -1));
  const lines = logLines();
  assert.ok(lines.length >= 20 && cells.length >= 20, `${lines.length} calls, ${cells.length} rows`);
  const plain = (text) => text.replace(/[:;,.…()]/g, '').replace(/ +/g, ' ').trim();
  const missing = lines.filter(({ texts }) => !texts.every((text) => cells.some((cell) => plain(cell).includes(plain(text)))));
  assert.deepEqual(missing, [], 'lines that the page lacks');
  const all = lines.map(({ texts }) => plain(texts.join(' '))).join(' | ');
  const invented = cells.filter((cell) => !cell.split(/…|;|\bWHY\b|\bN\b/).map(plain).filter((text) => / /.test(text)).every((text) => all.includes(text)));
  assert.deepEqual(invented, [], 'lines that are not written');
});

test('docs/benchmarks.md shows the figures of docs/benchmarks', () => {
  const { filledIn } = require('../bench/report');
  const page = fs.readFileSync(path.join(__dirname, '../docs/benchmarks.md'), 'utf8');
  const figures = JSON.parse(fs.readFileSync(path.join(__dirname, '../docs/benchmarks/figures.json'), 'utf8'));
  assert.ok(figures.length > 0);
  assert.equal(page, filledIn(page, figures));
});

test('the SQL of docs/operating.md is right', () => {
  const blocks = [...operating.matchAll(/^```sql\n([\s\S]*?)^```/gm)].map(([, sql]) => sql);
  assert.ok(blocks.length >= 5);
  for (const sql of blocks) s.postgres.query(`BEGIN; ${sql} ROLLBACK;`);
});
