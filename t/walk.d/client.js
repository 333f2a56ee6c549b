// A client of sync v3 that knows only api.md: one session of a device, all streams, a model of each, answers that get lost, pages.
'use strict';

const { Session } = require('../lib/client');
const { Difference, demand, same, within } = require('./difference');
const { RoomList, Members, RoomView, Typing, ToDevice, AccountData } = require('./models');
const { inspectAnswer, inspectRepeated } = require('./inspect');
const { sortRooms, usedSort, spaceOrder } = require('./order');
const { patch } = require('./params');

const paged = { room_list: { Model: RoomList, entries: 'rooms', limit: 20 }, room_members: { Model: Members, entries: 'events', limit: 50 } };
const most_rounds = 200;
const wait = 10_000;
const most_idle_waits = 3;
const kept_exchanges = 40;

const copy = (value) => JSON.parse(JSON.stringify(value));

class Client {
  constructor({ name, world, user, device, port, params }) {
    Object.assign(this, { name, world, user, device, port, params });
    this.exchanges = [];
    this.start();
  }

  /** A new session: nothing is known, and everything comes from the beginning. */
  start() {
    this.close();
    this.session = new Session({ port: this.port, token: this.device.token });
    this.held = undefined;               // the parameters that belong to the token
    this.toDevice = new ToDevice();
    this.accountData = new AccountData();
    this.forget('room', 'typing', 'room_list', 'room_members');
  }

  /** It has no session yet. */
  get isNew() { return this.held === undefined; }

  close() { this.session?.close(); }

  forget(...streams) {
    if (streams.includes('room')) this.room = new RoomView();
    if (streams.includes('typing')) this.typing = new Typing();
    if (streams.includes('room_list')) this.list = new RoomList();
    if (streams.includes('room_members')) this.members = new Members();
  }

  /** Asks for something else from now on. */
  change(params) { this.params = params; }

  // --- one exchange

  /** Sends a request as it is and gives the answer; what is not 200 is a difference, but that a session may end. */
  async send(body, { since = this.session.next, timeout = 0, signal } = {}) {
    const exchange = { since, timeout, body };
    this.exchanges.push(exchange);
    if (this.exchanges.length > kept_exchanges) this.exchanges.shift();
    const answer = await this.session.ask(body, { since, timeout, signal });
    exchange.status = answer.status;
    exchange.answer = answer.json;
    if (answer.status === 400 && answer.json.errcode === 'M_UNKNOWN_SYNC_SESSION') throw new Gone();
    if (answer.status !== 200) throw Object.assign(new Difference(`a request was refused: ${answer.status} ${answer.body}`), { answer: answer.json });
    return answer.json;
  }

  /** Answers get lost: asks, forgets (or gives up before the answer is there), asks the same again. */
  async sendThroughLosses(body, options, random) {
    this.older = false;
    if (!random.chance(0.12)) return this.send(body, options);
    if (random.chance(0.4)) await this.hangUp(body, options, random);
    else {
      this.world.met('lost answer');
      const lost = await this.send(body, options);
      const again = await this.send(body, options);
      inspectRepeated(lost, again);
      this.older = random.chance(0.3);
      return this.older ? lost : again;
    }
    return this.send(body, options);
  }

  async hangUp(body, options, random) {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), random.below(30));
    await this.send(body, { ...options, signal: controller.signal }).catch((error) => {
      if (error.name !== 'AbortError') throw error;
    });
    clearTimeout(timer);
  }

  // --- a request with all that is to be said, and its answer

  /** The request that is due: its body, for which streams it asks a first page, and whether the room in view is another. */
  prepare(random) {
    const first = this.isNew;
    const body = first ? copy(this.params) : patch(this.held, this.params);
    const pages = {};
    for (const stream of this.pagedStreams()) {
      const changed = first || (body[stream] !== undefined && !limitOnly(body[stream]));
      const asks = !first && (changed || this.mustPage(stream) || random.chance(0.04));
      if (asks) body[stream] = { ...body[stream], p: { ...body[stream]?.p, since: '1' } };
      pages[stream] = first || asks ? { changed } : undefined;
      if (changed) this.forget(stream);
    }
    const initial = first || body.room !== undefined;
    const other = first || (initial && !sameRoom(this.held.room, this.params.room));
    if (other) this.forget('room');
    if (first || body.typing) this.forget('typing');
    if (!first && random.chance(0.1)) this.repeatParameters(body);
    return { body: Object.keys(body).length === 0 && random.chance(0.5) ? '' : body, pages, view: { initialExpected: other, initialAllowed: initial } };
  }

  pagedStreams() { return Object.keys(paged).filter((stream) => this.params[stream]); }

  mustPage(stream) { return this.forcePages || (stream === 'room_members' && this.members.sure === false); }

  /** "Sticky": to say again what is already so changes nothing. */
  repeatParameters(body) {
    for (const [stream, params] of Object.entries(this.params)) {
      const said = body[stream];
      body[stream] = { ...copy(params), ...said, ...(params.p && { p: { ...params.p, ...said?.p } }) };
    }
  }

  /** One request and all it brings. With `keepPages` the pages after the first are left to finishPages(); nothing is applied before `over`. */
  async turn(random, { timeout = 0, keepPages = false, over } = {}) {
    const { body, pages, view } = this.prepare(random);
    const since = this.session.next;
    const waits = Object.values(pages).some(Boolean) ? 0 : timeout;
    const answer = await this.sendThroughLosses(body, { since, timeout: waits }, random);
    await over;
    this.held = copy(this.params);
    this.session.next = answer.next;
    this.forcePages = false;
    inspectAnswer(answer, this);
    this.apply(answer, view);
    this.tally(answer, pages);
    this.open = [];
    for (const stream of this.pagedStreams()) {
      if (pages[stream]) this.firstPage(stream, answer, pages[stream].changed ? [answer.next] : [since, answer.next]);
      else if (answer[stream]) this.delta(stream, answer[stream]);
    }
    // Whoever has just come into the room knows none of its members; deltas tell of changes only.
    if (this.params.room_members && (answer.partial || (answer.room?.initial && !pages.room_members))) this.members.sure = false;
    if (!keepPages) await this.finishPages(random);
    // Who is no longer in the room forgets its members, of whom nothing will be said any more.
    if (this.params.room && (answer.room || answer.room_members) && this.room.room?.membership !== 'join') this.forget('room_members');
    return answer;
  }

  apply(answer, view) {
    const { params } = this;
    if (answer.to_device) this.toDevice.apply(answer.to_device, params.to_device.limit);
    if (answer.account_data) this.accountData.apply(answer.account_data);
    if (answer.typing) this.typing.apply(answer.typing, params.typing.room_id);
    if (answer.room) this.applyRoom(answer.room, view);
  }

  tally(answer, pages) {
    const { room, room_list: list, room_members: members } = answer;
    const kind = (part) => (part.membership !== 'join' ? part.membership : part.initial ? 'initial' : part.timeline?.limited ? 'limited' : 'delta');
    if (room) this.world.met(`room ${kind(room)}`);
    for (const each of pages.room_list ? [] : list?.rooms || []) this.world.met(each.listed === false ? 'room_list unlisted' : `room_list ${each.membership} delta`);
    if (members) this.world.met(`room_members ${pages.room_members ? 'page' : members.limited ? 'limited' : 'delta'}`);
    if (answer.typing) this.world.met('typing');
  }

  applyRoom(part, { initialExpected, initialAllowed }) {
    const { params: { room: params }, user, world } = this;
    // It may have been an invite of somebody who is ignored; who has seen that before needs to hear that it is over.
    const leaveAllowed = user.everIgnored.size > 0;
    this.room.apply(part, { params, initialExpected, initialAllowed: initialAllowed || world.movedUsers.has(user), leaveAllowed });
  }

  delta(stream, part) {
    demand(part.p?.next === undefined, `${stream}: a delta has no p.next`, { got: part.p });
    const limit = this.params[stream].p?.limit ?? paged[stream].limit;
    if (stream === 'room_list') this.list.delta(part.rooms, limit, !this.params.room_list.filters && !this.params.room_list.spaces && this.user.everIgnored.size === 0);
    else this.members.delta(part, limit);
  }

  // --- pages

  firstPage(stream, answer, sinces) {
    const { Model, entries, limit } = paged[stream];
    const part = answer[stream];
    if (!part) {
      // "The first page … even when empty (count 0; for a room the user is not in: silence)."
      demand(stream === 'room_members', 'the first page of room_list is there even when empty');
      this.members.sure = true;
      return;
    }
    const snapshot = Model.snapshot();
    snapshot.add(part[entries], part.p, this.params[stream].p?.limit ?? limit);
    const { p: asked, spaces } = this.params[stream];
    const sort = stream === 'room_list' ? usedSort(asked?.sort, spaces) : [asked?.sort === 'by_name' ? 'by_name' : 'by_pl'];
    same([part.p.sort].flat(), sort, `the sort of ${stream} that was negotiated`);
    this.open.push({ stream, snapshot, sinces, expected: stream === 'room_list' ? this.expectedOrder() : undefined });
  }

  /** What the pages must hold when the client was up to date; nothing if it has no list yet. */
  expectedOrder() {
    if (this.list.rooms.size === 0 || !this.reference) return undefined;
    const { p, spaces } = this.params.room_list;
    const places = spaces ? spaceOrder(spaces, this.reference) : [];
    return sortRooms(this.list.rooms.values(), usedSort(p?.sort, spaces), places).map((room) => room.room_id);
  }

  /** Fetches the later pages, with the token of before or of the first page; they advance nothing. */
  async finishPages(random) {
    for (const { stream, snapshot, sinces, expected } of this.open) {
      const { entries, limit } = paged[stream];
      while (snapshot.next !== undefined) {
        // "Other parameters than p.limit" belong to the token; so does the limit, and that of the older token may be another.
        const since = random.pick(sinces);
        const more = since === sinces.at(-1) && random.chance(0.8) ? undefined : random.between(1, 7);
        const body = { [stream]: { p: { since: snapshot.next, ...(more && { limit: more }) } } };
        const answer = await this.laterPage(body, { since, timeout: random.pick([0, wait]) });
        if (!answer || (stream === 'room_members' && !answer[stream] && this.mayBeOutside())) break;
        inspectAnswer(answer, this);
        same(Object.keys(answer).filter((name) => !['next', 'partial', ...Object.keys(paged)].includes(name)), [], 'a later page answers paginated streams only');
        demand(answer[stream], `the next page of ${stream} is there`, { got: answer });
        this.world.met(`${stream} later page`);
        snapshot.add(answer[stream][entries], answer[stream].p, more ?? this.params[stream].p?.limit ?? limit);
      }
      if (snapshot.next !== undefined) {
        this.forcePages = !this.outside();
        continue;
      }
      if (stream === 'room_list' && expected && this.wasCurrent) {
        same(snapshot.entries.map((room) => room.room_id), expected, 'the rooms of a snapshot in their order');
      }
      (stream === 'room_list' ? this.list : this.members).replace(snapshot);
    }
    this.open = [];
  }

  /** "A room left meanwhile …: its `room_members` is silent." */
  outside() { return this.world.roomOf(this.params.room_members.room_id)?.membership(this.user) !== 'join'; }

  /** Also who has come back by now may have heard only of having left. */
  mayBeOutside() { return this.outside() || this.world.movedUsers.has(this.user); }

  /** "A given-up snapshot's p.next: 400 M_INVALID_PARAM": only of a snapshot that was replaced, when a first page was asked for twice. */
  async laterPage(body, options) {
    try {
      return await this.send(body, options);
    } catch (error) {
      if (this.older && error.answer?.errcode === 'M_INVALID_PARAM') return undefined;
      throw error;
    }
  }

  /** A first page with few entries; the others are left for after the next step. */
  async openPages(random) {
    const narrow = (stream) => ({ ...this.params[stream], p: { ...this.params[stream].p, limit: random.between(1, 3) } });
    Object.assign(this, { wasCurrent: true, forcePages: true });
    this.params = { ...this.params, ...Object.fromEntries(this.pagedStreams().map((stream) => [stream, narrow(stream)])) };
    await this.attempt(random, { keepPages: true });
  }

  /** A request that waits while a step goes on; its answer is looked at when the step is over, and the model of the world is that of then. */
  beginWaiting(random, over) {
    this.waiting = this.attempt(random, { timeout: wait, over });
    this.waiting.catch(() => {});   // bringUpTo() tells
  }

  // --- until nothing is left to be said

  /** Until the to-device message with this number has come, and with it all that was before; then until an answer is empty. */
  async bringUpTo(number, random) {
    await within(this.name, async () => {
      await this.waiting;
      this.waiting = undefined;
      if (this.open?.length) await this.finishPages(random);
      this.wasCurrent = false;
      for (let round = 0, idle = 0; round < most_rounds && idle < most_idle_waits; round++) {
        const { last } = this.toDevice;
        const waiting = !(last >= number);
        const answer = await this.attempt(random, { timeout: waiting ? wait : 0 });
        if (answer && !waiting && this.quiet(answer)) return;
        if (answer && waiting && this.quiet(answer) && this.exchanges.at(-1).timeout > 0) idle++;
        if (answer && this.toDevice.last !== last) round = 0;   // a new session has much to catch up with
      }
      throw new Difference(waitingText(this, number));
    });
  }

  quiet(answer) {
    const said = Object.keys(answer).some((name) => name !== 'next');
    return !said && this.held && Object.keys(patch(this.held, this.params)).length === 0 && this.members.sure !== false && !this.forcePages;
  }

  async attempt(random, options) {
    try {
      return await this.turn(random, options);
    } catch (error) {
      if (!(error instanceof Gone)) throw error;
      this.world.met('session gone');
      this.start();
      return undefined;
    }
  }

  /** What was said, newest last. */
  history() { return this.exchanges.map((exchange) => JSON.stringify(exchange)).join('\n'); }
}

const waitingText = (client, number) => (client.toDevice.last >= number
  ? `after ${most_rounds} requests there is still something to say: no answer is empty`
  : `the to-device message ${number} did not come, though the client waited; the last was ${client.toDevice.last}`);

/** "Any parameter of the stream differs": to say what is the default may or may not count as one. */
function sameRoom(before, now) {
  const whole = (params) => JSON.stringify({ ...room_defaults, ...params }, [...Object.keys(room_defaults), 'room_id', 'types', 'not_types']);
  return whole(before) === whole(now);
}
const room_defaults = { timeline_limit: 20, required_state: [['*', '*']], lazy_load_members: true };

/** Another limit makes no other list. */
function limitOnly(change) {
  return Object.keys(change).every((name) => name === 'p' && Object.keys(change.p).every((inner) => inner === 'limit'));
}

class Gone extends Error {}

module.exports = { Client };
