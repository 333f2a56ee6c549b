// The generated world: users, their devices and rooms on a real Synapse, and as much of a model of them as the choice of steps needs. What is
// right is never read from this model but asked of the homeserver (truth.js); only who must not see what is kept here.
'use strict';

const encode = encodeURIComponent;

class User {
  constructor(index, account) {
    Object.assign(this, { index, account, devices: [account], label: `u${index}` });
    this.ignored = new Map();       // user → serial of the last message before that
    this.everIgnored = new Set();   // users; what devices know of the time of ignoring may differ
    this.direct = new Map();        // user ID → room IDs
    this.tags = new Map();          // room → set of tags
  }

  get id() { return this.account.user_id; }

  /** On behalf of the user, through the device that the walk keeps for itself. */
  call(method, target, body) { return this.account.call(method, target, body); }
  put(target, body) { return this.call('PUT', `/user/${encode(this.id)}${target}`, body); }
}

class Room {
  constructor(label, fields) {
    Object.assign(this, { label, joinRule: 'public', version: '11', space: false, levels: new Map(), usersDefault: 0, ...fields });
    this.members = new Map();       // user → membership
    this.inviter = new Map();       // user → user
    this.leftAt = new Map();        // user → serial of the last message sent while they were in the room
    this.events = [];               // {id, sender, type, serial, thread}: what can be redacted and read
    this.redacted = new Set();      // event IDs
    this.typing = new Map();        // user → step in which they began
    this.unheard = new Set();       // users whose devices may not have heard of the present typists
    this.cameIn = new Map();        // user → when, by the clock that the homeserver has too; for comparing, not for choosing
    this.unthreaded = new Set();    // user and event of receipts that are of no thread, private ones too
    this.counts = new Map();        // user → their unread counts when the newest event came, and what that was; for comparing only
    this.children = new Set();      // rooms, when this is a space
  }

  get at() { return `/rooms/${encode(this.id)}`; }

  /** A receipt of no thread, of whatever kind. */
  read(user, event) { this.unthreaded.add(JSON.stringify([user.id, event.id])); }
  membership(user) { return this.members.get(user) || 'leave'; }
  with(...memberships) { return [...this.members].filter(([, membership]) => memberships.includes(membership)).map(([user]) => user); }
  get joined() { return this.with('join'); }
  get concerned() { return this.with('join', 'invite', 'knock'); }
  level(user) { return user === this.creator ? 100 : this.levels.get(user) ?? this.usersDefault; }
  withLevel(level) { return this.joined.filter((user) => this.level(user) >= level); }
}

class World {
  constructor(synapse) {
    this.synapse = synapse;
    this.users = [];
    this.rooms = [];
    this.roomCount = 0;
    this.serial = 0;                // of messages, in the order they are sent
    this.transactions = 0;
    this.sent = new Map();          // event ID → {device, transaction}
    this.redactedIds = new Set();
    this.movedUsers = new Set();    // whose own membership of some room changed since the last comparison
    this.step = 0;
    this.tally = {};                // of what clients met, to see that a walk meets everything
    this.toDevice = new Map();      // device → number of messages sent to it
  }

  async addUsers(count) {
    for (let i = 0; i < count; i++) this.users.push(new User(i, await this.synapse.register(`walker${i}`)));
    const { capabilities } = await this.users[0].call('GET', '/capabilities');
    this.versions = ['9', '10', '11', '12'].filter((version) => capabilities['m.room_versions'].available[version]);
  }

  get alive() { return this.rooms.filter((room) => room.joined.length > 0); }

  async addRoom(creator, fields, settings) {
    const { room_id: id } = await creator.call('POST', '/createRoom', settings);
    return this.knowRoom(id, creator, fields);
  }

  knowRoom(id, creator, fields) {
    const room = new Room(`R${this.roomCount++}`, { id, creator, ...fields });
    room.members.set(creator, 'join');
    this.rooms.push(room);
    return room;
  }

  /** A room event of a user through one of their devices; gives its ID. */
  async send(room, sender, type, content, { device = sender.account, thread } = {}) {
    const transaction = `walk${++this.transactions}`;
    const serial = ++this.serial;
    const { event_id: id } = await device.call('PUT', `${room.at}/send/${type}/${transaction}`, { ...content, n: serial });
    this.sent.set(id, { device, transaction });
    room.events.push({ id, sender, type, serial, thread });
    if (room.events.length > 200) room.events.shift();
    return id;
  }

  message(room, sender, text, options) {
    return this.send(room, sender, 'm.room.message', { msgtype: 'm.text', body: text }, options);
  }

  async setState(room, sender, type, content, key = '') {
    const { event_id: id } = await sender.call('PUT', `${room.at}/state/${type}/${encode(key)}`, content);
    room.events.push({ id, sender, type, state: true });
    return id;
  }

  async redact(room, sender, event, device = sender.account) {
    const transaction = `walk${++this.transactions}`;
    const { event_id: id } = await device.call('PUT', `${room.at}/redact/${encode(event.id)}/${transaction}`, { reason: 'walk' });
    this.sent.set(id, { device, transaction });
    room.redacted.add(event.id);
    this.redactedIds.add(event.id);
  }

  /** Keeps the model of a membership that the homeserver has accepted. */
  become(room, user, membership, by) {
    const before = room.membership(user);
    if (before === 'join' && membership !== 'join') {
      room.leftAt.set(user, this.serial);
      this.stopTyping(room, user);
    }
    if (before !== 'join' && membership === 'join') room.cameIn.set(user, Date.now());
    // Classic sync does not tell whoever comes in who began to type before; everybody hears of all typists when one begins or stops.
    if (before !== 'join' && membership === 'join' && room.typing.size > 0) room.unheard.add(user);
    if (membership === 'invite') room.inviter.set(user, by);
    room.members.set(user, membership);
    this.movedUsers.add(user);
  }

  startTyping(room, user) {
    room.typing.set(user, this.step);
    room.unheard.clear();
  }

  stopTyping(room, user) {
    if (room.typing.delete(user)) room.unheard.clear();
  }

  /** While nginx stood still its pollers may have lost their devices: their successors know of no typist until one begins or stops. */
  forgetTyping() {
    for (const room of this.rooms) if (room.typing.size > 0) for (const user of this.users) room.unheard.add(user);
  }

  /** A message to each of these devices in one request, numbered for each from 1 in the order they are sent; gives the numbers. */
  async tell(devices, sender = this.synapse.first) {
    const numbers = new Map(devices.map((device) => [device, (this.toDevice.get(device) || 0) + 1]));
    const messages = {};
    for (const [device, number] of numbers) {
      this.toDevice.set(device, number);
      messages[device.user_id] = { ...messages[device.user_id], [device.device_id]: { number, text: 'ä \u2028 "quoted" 🎉' } };
    }
    if (devices.length > 0) await sender.toDevice('org.example.walk', messages);
    return numbers;
  }

  met(what) { this.tally[what] = (this.tally[what] || 0) + 1; }
  roomOf(id) { return this.rooms.find((room) => room.id === id); }
  userOf(id) { return this.users.find((user) => user.id === id); }
}

module.exports = { World, encode };
