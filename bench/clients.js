// Clients that wait for news all the time, in a process of their own: of sync v3, and of classic sync. They note how long each event took that
// homeserver.js sent.
'use strict';

const { path } = require('../t/lib/client');
const { Connection } = require('./http');
const { offer } = require('./process');
const { now, pause } = require('./figures');

const wait = 30_000;
const at_a_time = 32;
const marker = Buffer.from('sent_');

class Client {
  constructor(group, port, number) {
    Object.assign(this, { group, number, newest: 0, connection: new Connection(port, `${group.name}-${group.size}-${number}`) });
  }

  /** Asks and goes on from what the answer says; gives its bytes. */
  async sync(body, timeout) {
    const target = `${path}?${this.next === undefined ? '' : `since=${this.next}&`}timeout=${timeout}`;
    const { status, body: bytes } = await this.connection.ask(target, this.group.classic ? undefined : body);
    if (status !== 200) throw new Error(`${this.connection.token}: ${status} ${bytes}`);
    [, this.next] = /"next(?:_batch)?":"([^"]*)"/.exec(bytes.toString('latin1', 0, 300));
    return bytes;
  }

  begin() {
    const room_id = `!${this.group.name}_${Math.floor(this.number / this.group.size)}:hs.test`;
    return this.sync(JSON.stringify({ to_device: {}, typing: { room_id }, room_list: { timeline_limit: 1 }, room: { room_id } }), 0);
  }

  /** The first waits end one after the other, so that not all clients come at once ever after. */
  async listen() {
    for (let timeout = Math.round(wait * (this.number / this.group.devices)); ; timeout = wait) {
      const bytes = await this.sync('', timeout);
      if (bytes.includes(marker)) this.hear(bytes, now());
    }
  }

  hear(bytes, at) {
    const found = new Map([...bytes.latin1Slice().matchAll(/sent_(\d+)_([\d.]+)_/g)].map(([, number, sent]) => [Number(number), Number(sent)]));
    for (const [number, sent] of found) if (number > this.newest) this.group.delays.push(at - sent);
    this.newest = Math.max(this.newest, ...found.keys());
  }
}

const groups = {};

offer({
  /** As many clients as devices, on one of the ports after the other. */
  make(name, { ports, size, devices, classic }) {
    const group = { name, size, devices, classic, delays: [] };
    group.clients = Array.from({ length: devices }, (_, i) => new Client(group, ports[i % ports.length], i));
    group.new = [...group.clients];
    groups[name] = group;
  },

  /** So many more have a first answer. */
  async begin(name, count) {
    const starting = groups[name].new.splice(0, count);
    await Promise.all(Array.from({ length: at_a_time }, async () => {
      for (let client; (client = starting.shift());) await client.begin();
    }));
  },

  listen(name) {
    for (const client of groups[name].clients) client.listen();
  },

  /** Milliseconds that events took, since the last time this was asked. */
  delays: (name) => groups[name].delays.splice(0),

  /** The same once all clients have the event with the number that is their room's. */
  async heard(name, last) {
    const { clients, size, delays } = groups[name];
    const deadline = now() + 60_000;
    while (!clients.every(({ newest, number }) => newest >= last[Math.floor(number / size)])) {
      if (now() > deadline) throw new Error('not every event has come');
      await pause(10);
    }
    return delays.splice(0);
  },
});
