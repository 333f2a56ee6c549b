#!/usr/bin/env node
// End-to-end encryption over sync v3: the crypto that real clients use (OlmMachine of matrix-sdk-crypto) gets its to-device messages, device
// lists and key counts from sync v3 alone, in front of the real Synapse.
'use strict';

globalThis.crypto ??= require('node:crypto').webcrypto; // Node.js 18 has it elsewhere
const {
  OlmMachine, UserId, DeviceId, RoomId, DeviceLists, RequestType, EncryptionSettings, DecryptionSettings, TrustRequirement, initAsync,
} = require('@matrix-org/matrix-sdk-crypto-wasm');
const { test, assert, before, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { realHomeserver } = require('./lib/synapse');

const s = stage({ workers: 2, directives: 'matrix_sync_poll_timeout 5s;' });
const synapse = realHomeserver(s);

const requests = {
  [RequestType.KeysUpload]: (account, { body }) => account.call('POST', '/keys/upload', JSON.parse(body)),
  [RequestType.KeysQuery]: (account, { body }) => account.call('POST', '/keys/query', JSON.parse(body)),
  [RequestType.KeysClaim]: (account, { body }) => account.call('POST', '/keys/claim', JSON.parse(body)),
  [RequestType.ToDevice]: (account, { body, event_type, txn_id }) =>
    account.call('PUT', `/sendToDevice/${event_type}/${encodeURIComponent(txn_id)}`, JSON.parse(body)),
  [RequestType.SignatureUpload]: (account, { body }) => account.call('POST', '/keys/signatures/upload', JSON.parse(body)),
};

/** A client as it stands in an app: an account, its OlmMachine, and one session of sync v3. */
class Client {
  static async create(account) {
    const client = new Client();
    const machine = await OlmMachine.initialize(new UserId(account.user_id), new DeviceId(account.device_id));
    Object.assign(client, { account, machine, session: s.session(account), keyCounts: [] });
    await client.sync();
    return client;
  }

  /** One answer of sync v3 into the machine, and what the machine wants to send because of it. */
  async sync(options = {}) {
    await this.receive(await this.session.sync({ to_device: {}, e2ee: {} }, options));
  }

  async receive({ to_device, e2ee = {} }) {
    const { device_lists: lists = {} } = e2ee;
    // Sync v3 says how many keys there are when that has changed; to the machine silence means that none are left.
    if (e2ee.device_one_time_keys_count) {
      this.counts = e2ee.device_one_time_keys_count;
      this.fallback = e2ee.device_unused_fallback_key_types;
      this.keyCounts.push(this.counts.signed_curve25519);
    }
    const ids = (users = []) => users.map((user) => new UserId(user));
    await this.machine.receiveSyncChanges(JSON.stringify(to_device ? to_device.events : []), new DeviceLists(ids(lists.changed), ids(lists.left)),
      new Map(Object.entries(this.counts)), this.fallback && new Set(this.fallback));
    await this.sendOutgoing();
  }

  async sendOutgoing() {
    for (const request of await this.machine.outgoingRequests()) await this.deliver(request);
  }

  async deliver(request) {
    const answer = await requests[request.type](this.account, request);
    if (request.type === RequestType.KeysUpload) this.counts = answer.one_time_key_counts;
    await this.machine.markRequestAsSent(request.id, request.type, JSON.stringify(answer));
  }

  /** Goes on syncing until it is true. */
  async until(condition, what) {
    await until(async () => {
      if (await condition()) return true;
      await this.sync({ timeout: 300 });
      return condition();
    }, `${this.account.user_id} ${this.account.device_id}: ${what}`, 20_000);
  }

  /** Clients follow the devices of everybody in an encrypted room. */
  async track(users) {
    await this.machine.updateTrackedUsers(users.map((user) => new UserId(user)));
    await this.sendOutgoing();
  }

  /** Encrypts for all devices of these users that the machine knows of, and sends; gives the event's ID. */
  async send(room, users, body) {
    const claim = await this.machine.getMissingSessions(users.map((user) => new UserId(user)));
    if (claim) await this.deliver(claim);
    const settings = new EncryptionSettings();
    for (const request of await this.machine.shareRoomKey(new RoomId(room), users.map((user) => new UserId(user)), settings)) await this.deliver(request);
    const content = await this.machine.encryptRoomEvent(new RoomId(room), 'm.room.message', JSON.stringify({ msgtype: 'm.text', body }));
    return this.account.send(room, 'm.room.encrypted', JSON.parse(content));
  }

  /** The text of an encrypted event; null while its key has not come. */
  async read(room, event_id) {
    const event = await this.account.call('GET', `/rooms/${encodeURIComponent(room)}/event/${encodeURIComponent(event_id)}`);
    assert.equal(event.type, 'm.room.encrypted');
    try {
      const { event: text } = await this.machine.decryptRoomEvent(JSON.stringify(event), new RoomId(room), new DecryptionSettings(TrustRequirement.Untrusted));
      return JSON.parse(text).content.body;
    } catch (error) {
      return null;
    }
  }

  async reads(room, event_id, expected) {
    await this.until(async () => (await this.read(room, event_id)) !== null, `decrypts "${expected}"`);
    assert.equal(await this.read(room, event_id), expected);
  }

  knows(user, device) { return this.machine.getDevice(new UserId(user), new DeviceId(device), 0); }

  newRoomKey(room) { return this.machine.invalidateGroupSession(new RoomId(room)); }
}

let alice, bob, room, users;

before(async () => {
  await initAsync();
  const accounts = [await synapse.register('alice'), await synapse.register('bob')];
  users = accounts.map((account) => account.user_id);
  const initial_state = [{ type: 'm.room.encryption', state_key: '', content: { algorithm: 'm.megolm.v1.aes-sha2' } }];
  room = await accounts[0].createRoom({ initial_state });
  await accounts[1].join(room);
  [alice, bob] = [await Client.create(accounts[0]), await Client.create(accounts[1])];
});

test('the count of one-time keys on the homeserver comes through sync v3', async () => {
  for (const client of [alice, bob]) {
    assert.equal(client.keyCounts[0], 0, 'a new device has none');
    await client.until(() => client.keyCounts.at(-1) === 50, 'has 50 keys');
  }
});

test('encrypted messages decrypt both ways', async () => {
  for (const client of [alice, bob]) await client.track(users);
  await bob.reads(room, await alice.send(room, users, 'hello bob'), 'hello bob');
  await alice.reads(room, await bob.send(room, users, 'hello alice'), 'hello alice');
});

test('a used one-time key is seen to be missing and made anew', async () => {
  await bob.until(() => bob.keyCounts.includes(49), 'has one key less');
  await bob.until(() => bob.keyCounts.at(-1) === 50, 'has 50 keys again');
});

test('a new device is in the device lists, gets the next message, and can answer', async () => {
  const account = await bob.account.login();
  const phone = await Client.create(account);
  await phone.track(users);
  await alice.until(() => alice.knows(account.user_id, account.device_id), 'knows the new device');
  await bob.until(() => bob.knows(account.user_id, account.device_id), 'knows its user\'s new device');
  const sent = await alice.send(room, users, 'for both of bob\'s devices');
  for (const client of [bob, phone]) await client.reads(room, sent, 'for both of bob\'s devices');
  const answer = await phone.send(room, users, 'from the phone');
  for (const client of [alice, bob]) await client.reads(room, answer, 'from the phone');
});

test('a second session of a device takes no key away from the first, whichever is the quicker', async () => {
  const second = s.session(bob.account);
  await second.sync({ to_device: {}, e2ee: {} });
  const messages = async () => (await second.syncUntil((json) => json.to_device)).to_device.events;
  for (const secondFirst of [true, false, true]) {
    await alice.newRoomKey(room);
    const body = `with a new key, ${secondFirst ? 'second' : 'first'} session first`;
    const sent = await alice.send(room, users, body);
    assert.equal(await bob.read(room, sent), null, 'the key has not come yet');
    if (secondFirst) {
      assert.deepEqual((await messages()).map((event) => event.type), ['m.room.encrypted']);
      assert.equal((await second.sync()).to_device, undefined, 'it has come back with the next token');
    }
    await bob.reads(room, sent, body);
    await bob.sync();
    if (!secondFirst) assert.deepEqual((await messages()).map((event) => event.type), ['m.room.encrypted']);
  }
  await alice.reads(room, await bob.send(room, users, 'and back'), 'and back');
});

test('sessions that read at the same time: every message decrypts', async () => {
  const second = s.session(bob.account);
  await second.sync({ to_device: {}, e2ee: {} });
  let ended = false, seen = 0;
  const reading = (async () => {
    while (!ended) seen += ((await second.sync('', { timeout: 200 })).to_device?.events || []).length;
  })();
  try {
    for (let round = 0; round < 5; round++) {
      await alice.newRoomKey(room);
      await bob.reads(room, await alice.send(room, users, `message ${round}`), `message ${round}`);
    }
    await until(() => seen >= 5, 'the second session had all five keys');
  } finally {
    ended = true;
    await reading;
  }
});
