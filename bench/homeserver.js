// The homeserver of connected devices, in a process of its own. An access token, GROUP-SIZE-NUMBER, names a device, and each SIZE devices of a
// group share a room, which is all they have: a list of events. A poll gives what came after its `since`, at once for as many devices as
// ask, or waits for it. An event says in its text which it is and when it was given away: sent_NUMBER_TIME_, TIME by the machine's clock.
'use strict';

const net = require('node:net');
const { Messages } = require('./http');
const { offer } = require('./process');
const { now, pause, sum } = require('./figures');

const most_merged = 50;
const someone = '@someone:hs.test';
const origin_server_ts = 1_700_000_000_000;

const message = (n, body) => ({ type: 'm.room.message', event_id: `$${n}`, sender: someone, origin_server_ts: origin_server_ts + n, content: { msgtype: 'm.text', body } });
const state = (event_id, type, state_key, content) => ({ type, event_id, sender: someone, origin_server_ts, state_key, content });
/** By kind, where in an answer an event is, and the event. */
const kinds = {
  message: (n, text) => ['timeline', message(n, text)],
  member: (n, text) => ['timeline', { ...state(`$${n}`, 'm.room.member', someone, { membership: 'join', displayname: text }), origin_server_ts: origin_server_ts + n }],
  typing: (n, text) => ['ephemeral', { type: 'm.typing', content: { user_ids: [`@${text}:hs.test`] } }],
  to_device: (n, text) => ['to_device', { type: 'm.test', sender: someone, content: { text } }],
};

const response = (json, status = 200) => {
  const text = JSON.stringify(json);
  return Buffer.from(`HTTP/1.1 ${status} OK\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
};

class Room {
  constructor(id) { Object.assign(this, { id, events: [], devices: [], made: new Map() }); }

  push(kind, number, text) {
    this.events.push(kinds[kind](number, text));
    this.made.clear();
    for (const device of this.devices) device.wake();
  }

  first({ user_id }) {
    const events = [
      state(`$create${this.id}`, 'm.room.create', '', { room_version: '10', creator: someone }), state(`$name${this.id}`, 'm.room.name', '', { name: 'Room' }),
      state(`$join${this.id}`, 'm.room.member', someone, { membership: 'join' }), { ...state(`$join${user_id}`, 'm.room.member', user_id, { membership: 'join' }), sender: user_id },
    ];
    return this.answer(this.events.length, { state: { events }, timeline: { events: [], limited: false, prev_batch: 'p' } });
  }

  since(from) {
    if (!this.made.has(from)) {
      const to = Math.min(this.events.length, from + most_merged);
      this.made.set(from, this.answer(to, {}, this.events.slice(from, to)));
    }
    return this.made.get(from);
  }

  answer(to, room, events = []) {
    const all = (place) => events.filter(([at]) => at === place).map(([, event]) => event);
    const [timeline, ephemeral, to_device] = ['timeline', 'ephemeral', 'to_device'].map(all);
    if (timeline.length > 0) room.timeline = { events: timeline, limited: false, prev_batch: 'p' };
    if (ephemeral.length > 0) room.ephemeral = { events: ephemeral.slice(-1) };
    return response({
      next_batch: `s${to}`, ...(Object.keys(room).length > 0 && { rooms: { join: { [this.id]: room } } }), ...(to_device.length > 0 && { to_device: { events: to_device } }),
    });
  }
}

class Device {
  constructor(token, room) {
    Object.assign(this, { device_id: token, user_id: `@${token}:hs.test`, room, position: 0, acknowledged: 0, waiting: null });
    room.devices.push(this);
  }

  poll(since, timeout, socket) {
    if (since === undefined) {
      this.position = this.room.events.length;
      socket.write(this.room.first(this));
      return;
    }
    const position = Number(since.slice(1));
    this.acknowledged += Math.max(0, position - this.position);
    this.position = position;
    clearTimeout(this.waiting?.timer);
    this.waiting = { socket };
    if (timeout === 0 || position < this.room.events.length) this.wake();
    else this.waiting.timer = setTimeout(() => this.wake(), timeout);
  }

  wake() {
    if (!this.waiting) return;
    clearTimeout(this.waiting.timer);
    this.waiting.socket.write(this.room.since(this.position));
    this.waiting = null;
  }

  get quiet() { return this.waiting !== null; }
}

class Homeserver {
  constructor() {
    Object.assign(this, { groups: {}, devices: new Map(), number: 0 });
  }

  listen() {
    const server = net.createServer({ noDelay: true }, (socket) => {
      const messages = new Messages((head) => this.serve(head, socket));
      socket.on('data', (bytes) => messages.feed(bytes));
      socket.on('error', () => {});
    });
    return new Promise((resolve) => {
      server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => resolve(server.address().port));
    });
  }

  device(token) {
    if (!this.devices.has(token)) {
      const [group, size, number] = token.split('-');
      const rooms = this.groups[group] ??= [];
      const room = rooms[Math.floor(number / size)] ??= new Room(`!${group}_${Math.floor(number / size)}:hs.test`);
      this.devices.set(token, new Device(token, room));
    }
    return this.devices.get(token);
  }

  serve(head, socket) {
    const [, target] = head.split(' ', 2);
    if (target.endsWith('/versions')) { socket.write(response({ versions: ['v1.1', 'v1.11'], unstable_features: { 'org.matrix.msc4222': true } })); return; }
    const device = this.device(/^authorization: Bearer (\S+)/im.exec(head)[1]);
    if (target.includes('/sync?')) device.poll(/[?&]since=([^&]*)/.exec(target)?.[1], Number(/[?&]timeout=(\d+)/.exec(target)?.[1] ?? 0), socket);
    else if (target.endsWith('/whoami')) socket.write(response({ user_id: device.user_id, device_id: device.device_id, is_guest: false }));
    else if (target.endsWith('/filter')) socket.write(response({ filter_id: '1' }));
    else socket.write(response({ errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request' }, 404));
  }

  // --- what the benchmark asks for

  rooms(group) { return Object.values(this.groups[group] ?? {}); }

  /** How many devices of a group wait and have everything. */
  waiting(group) { return sum(this.rooms(group).map(({ devices }) => devices.filter(({ quiet }) => quiet).length)); }

  /** How many times an event has come to a device, which said so. */
  delivered(group) { return sum(this.rooms(group).map(({ devices }) => sum(devices.map(({ acknowledged }) => acknowledged)))); }

  /** Events at an even pace, of all `mix` in turn, to one room of the group after the other. Gives the number of each room's last one. */
  async send(group, { rate = 1, count = 1, mix = ['message'] }) {
    const rooms = this.rooms(group);
    const last = rooms.map(() => 0);
    const begun = now();
    for (let i = 0; i < count; i++) {
      await pause(Math.max(0, begun + (i * 1000) / rate - now()));
      const at = i % rooms.length, kind = mix[(i + Math.floor(i / rooms.length)) % mix.length];
      last[at] = ++this.number;
      rooms[at].push(kind, this.number, `sent_${this.number}_${now().toFixed(3)}_`);
    }
    return last;
  }
}

offer(new Homeserver());
