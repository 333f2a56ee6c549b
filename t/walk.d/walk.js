// The walk itself: steps of the world, clients that follow it, comparisons after each step.
'use strict';

const { until } = require('../lib/tap');
const { World } = require('./world');
const { Client } = require('./client');
const { Comparison } = require('./compare');
const { Truth } = require('./truth');
const { Random } = require('./random');
const { Trace } = require('./trace');
const { checkHistory, anchored } = require('./history');
const { within } = require('./difference');
const params = require('./params');
const { stopOldTypists } = require('./steps_users');

const steps = [...require('./steps_rooms'), ...require('./steps_events'), ...require('./steps_users')];

// For each user the sessions on each of their v3 devices: half of the users are only seen by the others. The last are those who ignore others.
const sessions = [[2, 1], [1, 1], [2], [1], [1], [], [], [], [], [], [1], [1]];
const all_streams = ['to_device', 'account_data', 'typing', 'room', 'room_members', 'room_list'];
const compare_all_every = 50;
const refused = /^(GET|POST|PUT|DELETE) .*: (400|403|404|409) /;

class Walk {
  constructor({ stage, synapse, seed, directory, streams = all_streams }) {
    Object.assign(this, { stage, synapse, streams });
    this.random = new Random(seed);
    this.trace = new Trace(directory, seed);
    this.world = new World(synapse);
    this.world.until = until;
    this.clients = [];
    this.differences = 0;
    this.count = { refused: 0, compared: 0, untold: 0, histories: 0, kinds: {} };
  }

  /** Users, rooms that devices find at their first poll, the devices and everybody's first session, and rooms that come later. */
  async begin() {
    await this.world.addUsers(sessions.length);
    await this.createRooms('first rooms', 6);
    for (const [i, counts] of sessions.entries()) {
      for (const count of counts) await this.addDevice(this.world.users[i], count);
    }
    this.comparison = new Comparison(this.world, this.stage.port);
    await this.compare(this.world.users, [], true);
    await this.createRooms('later rooms', 6);
    await this.compare(this.world.users, [], true);
  }

  async createRooms(name, count) {
    for (let i = 0; i < count; i++) await this.act(this.plan(this.random.fork(name, i), ['create']));
  }

  async addDevice(user, count) {
    const device = await user.account.login();
    user.devices.push(device);
    for (let i = 0; i < count; i++) {
      const name = `client ${this.clients.length} (${user.label}, device ${user.devices.length - 1}, session ${i + 1})`;
      const random = this.random.fork(name);
      const client = new Client({ name, world: this.world, user, device, port: this.stage.port, params: this.ask(random, user) });
      client.random = random;
      this.clients.push(client);
    }
  }

  /** What a client of this user may want to see; mostly a room that the user is in. */
  ask(random, user) {
    const { alive } = this.world, inside = alive.filter((room) => room.concerned.includes(user));
    const room = random.pick(inside.length > 0 && random.chance(0.8) ? inside : alive);
    return params.all(random, this.world, room && random.chance(0.97) ? room.id : '!nowhere:localhost', this.streams);
  }

  // --- a step

  /** A step that is possible now. */
  plan(random, names) {
    const known = names ? steps.filter((step) => names.includes(step.name)) : steps;
    for (;;) {
      const { name, plan } = random.weighted(known);
      const planned = plan(this.world, random);
      if (planned) return Object.assign(planned, { name });
    }
  }

  async act(plan) {
    const concerned = new Set([...plan.users, ...(plan.only ? [] : (plan.rooms || []).flatMap((room) => room.concerned))]);
    this.trace.step(`step ${this.world.step}: ${plan.say}`);
    if (plan.frozen) this.freeze('SIGSTOP');
    try {
      await plan.run();
    } catch (error) {
      if (!refused.test(error.message)) throw error;
      this.trace.line(`  refused: ${error.message}`);
      this.count.refused++;
    } finally {
      if (plan.frozen) {
        this.freeze('SIGCONT');
        this.world.forgetTyping();
      }
    }
    const rooms = plan.rooms || [];
    if (!plan.only) for (const room of rooms) room.concerned.forEach((user) => concerned.add(user));
    this.count.kinds[plan.name] = (this.count.kinds[plan.name] || 0) + 1;
    return { concerned, rooms };
  }

  /** Nobody polls while nginx stands still. */
  freeze(signal) {
    for (const pid of this.stage.nginx.workerPids()) process.kill(pid, signal);
  }

  async step() {
    this.world.step++;
    const random = this.random.fork('step', this.world.step);
    const plan = this.plan(random);
    await this.changeClients(random.fork('clients'));
    const { busy, done } = await this.beforeStep(random.fork('before'));
    const { concerned, rooms } = await this.act(plan);
    const stopped = await stopOldTypists(this.world);
    done();
    for (const room of stopped) room.concerned.forEach((user) => concerned.add(user));
    const all = this.world.step % compare_all_every === 0;
    for (const client of busy) concerned.add(client.user);
    await this.compare(all ? this.world.users : [...concerned], [...new Set([...rooms, ...stopped])], all);
    if (random.chance(0.1)) await this.checkHistory(random.fork('history'));
  }

  /** Now and then a client looks at another room, asks for something else, or begins a new session. */
  async changeClients(random) {
    if (!random.chance(0.35)) return;
    const client = random.pick(this.clients);
    const wanted = this.ask(random, client.user);
    const kind = random.pick(['room', 'room', 'list', 'view', 'all', 'restart']);
    if (kind === 'restart') {
      client.change(wanted);
      client.start();
    } else if (kind === 'all') client.change(wanted);
    else if (kind === 'list') client.change({ ...client.params, ...pick(wanted, ['room_list']) });
    else if (kind === 'view') client.change({ ...client.params, ...pick(this.sameRoom(wanted, client), ['room']) });
    else client.change({ ...client.params, ...pick(wanted, ['room', 'room_members', 'typing']) });
    this.changed = client;
    this.trace.line(`  ${client.name} changes: ${kind}`);
  }

  sameRoom(wanted, client) { return { room: wanted.room && { ...wanted.room, room_id: client.params.room.room_id } }; }

  /** What clients do while the step goes on: one has read the first of many pages, one waits for news. `done` is for after the step. */
  async beforeStep(random) {
    const busy = this.changed ? [this.changed] : [];
    this.changed = undefined;
    let done;
    const over = new Promise((resolve) => { done = resolve; });
    const idle = this.clients.filter((client) => !busy.includes(client));
    const [reader, waiter] = random.sample(idle, 2);
    if (random.chance(0.15)) {
      await this.blame(reader, () => reader.openPages(random.fork('pages')));
      busy.push(reader);
    }
    if (random.chance(0.2)) {
      waiter.beginWaiting(random.fork('wait'), over);
      busy.push(waiter);
    }
    return { busy, done };
  }

  async blame(client, run) {
    try {
      return await within(client.name, run);
    } catch (error) {
      error.clients ??= [client];
      throw error;
    }
  }

  // --- comparing

  /** Brings the clients of these users up to date and compares them, in these rooms or in all. */
  async compare(users, rooms, all) {
    const clients = this.clients.filter((client) => users.includes(client.user));
    const devices = [...new Set(clients.map((client) => client.device))];
    const label = `step ${this.world.step}`;
    // A session that begins when the device's others have acknowledged a message does not get it.
    await settled(clients.filter((client) => client.isNew).map((client) => this.blame(client, () => client.attempt(client.random.fork(`${label} begins`), {}))));
    const numbers = await this.world.tell(devices);
    await settled(clients.map((client) => this.blame(client, () => client.bringUpTo(numbers.get(client.device), client.random.fork(label)))));
    this.world.movedUsers.clear();
    const shared = new Map();
    await settled([...new Set(clients.map((client) => client.user))].map(async (user) => {
      const truth = await this.truth(user, all ? this.world.rooms : rooms, all, all ? new Map() : shared);
      if (!truth) return;
      await settled(devices.filter((device) => user.devices.includes(device)).map((device) =>
        this.comparison.device(clients.filter((client) => client.device === device), truth)));
    }));
    this.count.compared += clients.length;
  }

  /** Nothing where Synapse fails at a first sync: it then speaks of one event that the user may not see. */
  async truth(user, rooms, all, shared) {
    try {
      return await Truth.of(user, rooms, all, shared);
    } catch (error) {
      if (!/^GET \/sync: 403 /.test(error.message)) throw error;
      this.trace.line(`  ${user.label}: nothing to compare with, ${error.message}`);
      this.count.untold++;
      return undefined;
    }
  }

  /** Goes back from what a client shows and from what a fresh session shows. */
  async checkHistory(random) {
    const client = random.pick(this.clients);
    const room = client.room.room && this.world.roomOf(client.params.room?.room_id);
    if (!room || room.membership(client.user) !== 'join') return;
    const twin = await this.blame(client, () => this.comparison.twin(client));
    for (const each of anchored(client.room.room) ? [client, twin] : [twin]) {
      if (await this.blame(each, () => checkHistory(client.user, room, each.room.room))) this.count.histories++;
    }
  }

  /** After a difference: who was part of it begins anew. */
  recover(error) {
    this.differences++;
    for (const client of this.clients) if (!error.clients || error.clients.includes(client)) client.start();
  }

  close() { for (const client of this.clients) client.close(); }
}

const pick = (object, names) => Object.fromEntries(Object.entries(object).filter(([name, value]) => names.includes(name) && value !== undefined));

/** Waits for all, then fails as the first one that failed: nobody is still at work when a difference is reported. */
async function settled(promises) {
  const results = await Promise.allSettled(promises);
  const bad = results.find((result) => result.status === 'rejected');
  if (bad) throw bad.reason;
}

module.exports = { Walk, all_streams };
