#!/usr/bin/env node
// examples/rooms.py as its user runs it, on the real Synapse: what others do shows in its list and in the room that it opens.
'use strict';

const { spawn, execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test, last, after, onFailure, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { realHomeserver } = require('./lib/synapse');

const program = path.join(__dirname, '../examples/rooms.py');
const s = stage({ workers: 2, directives: 'matrix_sync_poll_timeout 2s; matrix_sync_sessions_per_device 1;' });
const synapse = realHomeserver(s);
const clients = [];

/** The program, running; everything it has said. */
class Client {
  constructor(account, options = ['--plain'], { terminal = false } = {}) {
    this.said = this.complained = '';
    const command = [program, '--url', `http://127.0.0.1:${s.port}`, ...options];
    // A shell that stays would have the Ctrl-C too, and end by it.
    const [run, ...args] = terminal ? ['script', '-qefc', `exec ${command.map((word) => `'${word}'`).join(' ')}`, '/dev/null'] : command;
    this.process = spawn(run, args, { env: { ...process.env, MATRIX_TOKEN: account.token } });
    this.process.stdout.setEncoding('utf8').on('data', (text) => { this.said += text; });
    this.process.stderr.setEncoding('utf8').on('data', (text) => { this.complained += text; });
    this.ended = new Promise((end) => this.process.once('close', (code, signal) => end((this.over = { code, signal }))));
    clients.push(this);
  }

  /** The updates so far, each the text of a whole screen or a notice. */
  get updates() { return this.said.split('\n\n').slice(0, -1); }

  /** The newest update, as soon as it is one that `found` is true of. */
  async shows(what, found) {
    let update;
    await until(() => {
      if (this.over) throw new Error(`the client has ended; ${this}`);
      update = this.updates.at(-1) ?? '';
      return found(update);
    }, what, 30_000).catch((error) => { throw new Error(`${error.message}; ${this}`); });
    return update;
  }

  type(line) { this.process.stdin.write(`${line}\n`); }

  async ends(code = 0) {
    const end = await this.ended;
    assert.deepEqual(end, { code, signal: null }, `it ended with ${JSON.stringify(end)}; ${this}`);
    assert.equal(this.complained, '');
  }

  toString() { return `it said:\n${this.said.slice(-3000)}\n${this.complained}`; }
}

after(() => clients.forEach((client) => client.over || client.process.kill('SIGKILL')));
onFailure(() => clients.map(String).join('\n'));

/** The line of a room in the list; undefined when there is none. */
const lineOf = (list, name) => list.split('\n').find((line) => line.startsWith('  ') && line.includes(` ${name} `));
const isList = (update) => update.startsWith('== Rooms: ');
const numberOf = (list, name) => Number(lineOf(list, name).trim().split(' ')[0]);
const message = (account, room, body) => account.send(room, 'm.room.message', { msgtype: 'm.text', body });

let alice, bob, tea, attic, client;

test('the list has the rooms there are, with their last messages, the latest first', async () => {
  [alice, bob] = [await synapse.register('alice'), await synapse.register('bob')];
  attic = await alice.createRoom({ name: 'Attic', initial_state: [encrypted] });
  tea = await alice.createRoom({ name: 'Tea', topic: 'With \u001b[31mmilk' });
  await bob.join(tea);
  await message(bob, tea, 'who is there?');
  client = new Client(alice);
  const list = await client.shows('two rooms', (update) => lineOf(update, 'Tea'));
  assert.match(list, /^== Rooms: 2\n/);
  assert.match(lineOf(list, 'Tea'), /^ {2}1 Tea .* bob: who is there\?$/);
  assert.match(lineOf(list, 'Attic'), /^ {2}2 Attic .* encrypted /);
});

const encrypted = { type: 'm.room.encryption', state_key: '', content: { algorithm: 'm.megolm.v1.aes-sha2' } };

test('a message shows, is counted, and brings its room to the top', async () => {
  await message(alice, attic, 'dusty');
  await client.shows('the attic on top', (update) => /^ {2}1 Attic .* alice: dusty$/m.test(update));
  await message(bob, tea, 'tea for two');
  await client.shows('the message, one of two', (update) => /^ {2}1 Tea +2 +bob: tea for two$/m.test(update));
  await bob.send(tea, 'm.room.message', { msgtype: 'm.text', body: 'alice: really', 'm.mentions': { user_ids: [alice.user_id] } });
  await client.shows('a mention', (update) => /^ {2}1 Tea +3 \(1!\) +bob: alice: really$/m.test(update));
});

test('a rename shows', async () => {
  await alice.setState(attic, 'm.room.name', { name: 'Loft' });
  const list = await client.shows('the new name', (update) => lineOf(update, 'Loft'));
  assert.equal(lineOf(list, 'Attic'), undefined);
});

test('an invite shows, becomes a direct chat, and goes when it is left', async () => {
  const chat = await bob.createRoom({ preset: 'trusted_private_chat', is_direct: true, invite: [alice.user_id] });
  await client.shows('the invite', (update) => /^ {2}\d bob .* invite DM +from bob$/m.test(update));
  await alice.setAccountData('m.direct', { [bob.user_id]: [chat] });
  await alice.join(chat);
  await client.shows('the chat', (update) => isList(update) && / DM /.test(lineOf(update, 'bob')) && !/ invite /.test(lineOf(update, 'bob')));
  await alice.call('POST', `/rooms/${encodeURIComponent(chat)}/leave`, {});
  await client.shows('two rooms again', (update) => /^== Rooms: 2\n/.test(update));
});

test('a line on stdin opens a room: its topic, members and messages; words of others are no commands to the terminal', async () => {
  await alice.setState(tea, 'm.room.member', { membership: 'join', displayname: 'Alice' }, alice.user_id);
  await message(bob, tea, 'a \u001b[2J\u0007 bell');
  const list = await client.shows('the last message', (update) => /a  \[2J  bell/.test(update));
  client.type(numberOf(list, 'Tea'));
  const room = await client.shows('the room', (update) => update.startsWith('== Tea\n') && update.includes('members'));
  assert.match(room, /^ {3}With {2}\[31mmilk$/m);
  assert.match(room, /^ {3}2 members: Alice, bob$/m);
  assert.match(room, /^\d\d:\d\d bob: who is there\?\n(.*\n)*\d\d:\d\d bob: tea for two\n/m);
  assert.ok(!client.said.includes('\u001b') && !client.said.includes('\u0007'));
});

test('who types shows, and that they stopped', async () => {
  await bob.typing(tea);
  await client.shows('a typist', (update) => /^ {3}typing: bob$/m.test(update));
  await bob.typing(tea, false);
  await client.shows('nobody types', (update) => update.startsWith('== Tea') && !/typing/.test(update));
});

test('a message shows, and goes when it is redacted', async () => {
  const sent = await message(bob, tea, 'never mind');
  await client.shows('the message', (update) => /bob: never mind$/m.test(update));
  await bob.call('PUT', `/rooms/${encodeURIComponent(tea)}/redact/${encodeURIComponent(sent)}/redaction`, {});
  const room = await client.shows('that it is gone', (update) => /bob: \(deleted\)$/m.test(update));
  assert.ok(!room.includes('never mind'));
});

test('members come and change their names', async () => {
  const carol = await synapse.register('carol');
  await carol.join(tea);
  await client.shows('three members', (update) => /^ {3}3 members: Alice, bob, carol$/m.test(update));
  await bob.setState(tea, 'm.room.member', { membership: 'join', displayname: 'Robert' }, bob.user_id);
  await client.shows('the new name', (update) => /^ {3}3 members: Alice, carol, Robert$/m.test(update) && /^\d\d:\d\d Robert: tea for two$/m.test(update));
});

test('a session that the server has dropped is replaced by another', async () => {
  const before = client.updates.length;
  const other = s.session(alice);
  await other.sync({ typing: { room_id: tea } });
  await message(bob, tea, 'still here');
  await client.shows('the message', (update) => /Robert: still here$/m.test(update));
  await until(async () => (await other.ask()).status === 400, 'the client has a session again, and so this one is gone');
  assert.ok(client.updates.length > before);
});

test('while nginx is away the client says so, and goes on in its session when it is back', async () => {
  await s.nginx.stop();
  await client.shows('a notice', (update) => /^-- No connection: .*; trying again in \d+ s$/.test(update));
  await message(bob, tea, 'meanwhile');
  await s.nginx.start();
  await client.shows('the message', (update) => /Robert: meanwhile$/m.test(update));
});

test('back to the list, which knows what has happened meanwhile; to an empty room and back; and the end', async () => {
  await message(bob, tea, 'last word');
  await client.shows('the message', (update) => /Robert: last word$/m.test(update));
  client.type('');
  await client.shows('the list', (update) => isList(update) && /bob: last word$/.test(lineOf(update, 'Tea')));
  client.type('!nowhere:localhost');
  await client.shows('a room that is not there', (update) => /^== !nowhere:localhost\n.*none/.test(update));
  client.type('b');
  await client.shows('the list again', (update) => /^== Rooms: 2\n/.test(update));
  client.type('q');
  await client.ends();
});

test('--once says how things are, and ends', async () => {
  const list = new Client(alice, ['--once']);
  await list.ends();
  assert.match(list.said, /^== Rooms: 2\n {2}1 Tea [^]*\n\n$/);
  assert.equal(list.updates.length, 1);
  const room = new Client(alice, ['--once', '--room', '1']);
  await room.ends();
  assert.match(room.said, /^== Tea\n[^]*3 members[^]*last word\n\n$/);
  assert.equal(room.updates.length, 1);
});

test('a long list comes in pages; a device that has never synced begins with it', async () => {
  const dave = await synapse.register('dave');
  for (let i = 0; i < 25; i++) await dave.createRoom({ name: `Room ${i}` });
  const many = new Client(dave, ['--once']);
  await many.ends();
  assert.match(many.said, /^== Rooms: 25\n {2}1 Room 24 /);
});

test('a token that the homeserver refuses is an error in one line', async () => {
  const wrong = new Client({ token: 'no-such-token' });
  assert.deepEqual(await wrong.ended, { code: 1, signal: null });
  assert.match(wrong.complained, /^401 M_UNKNOWN_TOKEN: .*\n$/);
});

test('on a terminal it draws in place; Ctrl-C ends it quietly and gives the terminal back', async () => {
  const terminal = new Client(alice, [], { terminal: true });
  const seen = (text) => until(() => terminal.said.includes(text), text, 30_000).catch((error) => { throw new Error(`${error.message}; ${terminal}`); });
  await seen('\u001b[H');
  await seen('== Rooms: 2');
  terminal.type('1');
  await seen('== Tea');
  await message(bob, tea, 'in place');
  await seen('in place\u001b[K');
  terminal.process.stdin.write('\u0003');
  await terminal.ends();
  assert.match(terminal.said, /^\u001b\[\?1049h/);
  assert.ok(terminal.said.includes('\u001b[?1049l') && !terminal.said.includes('Traceback'));
});

last('it is Python 3.9', () => {
  execFileSync('python3', ['-c', 'import ast, sys; ast.parse(open(sys.argv[1]).read(), feature_version=(3, 9))', program]);
  assert.ok(fs.statSync(program).mode & 0o111, 'it can be run');
});
