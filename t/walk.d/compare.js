// The comparisons: what a client built against a fresh session of the same device (its twin), and fresh sessions against the homeserver.
'use strict';

const { Client } = require('./client');
const { demand, same, within } = require('./difference');
const { sortRooms, usedSort, spaceOrder, matches } = require('./order');
const { essence, shownReceipts } = require('./truth');
const { checkListed, checkView, checkMembers, reference_state } = require('./against_truth');

const byId = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const sortedMap = (map, value = (each) => each) => Object.fromEntries([...map].sort(([a], [b]) => byId(a, b)).map(([id, each]) => [id, value(each)]));

/** Names the clients whose requests and answers led to a difference. */
function blaming(clients, run) {
  try {
    run();
  } catch (error) {
    error.clients = clients;
    throw error;
  }
}

/** Where one hides what the other still has, it has older events in its place. */
function sameLength(...rooms) {
  const shown = Math.min(...rooms.map(({ timeline }) => timeline.length));
  for (const room of rooms) room.timeline = room.timeline.slice(room.timeline.length - shown);
}

class Comparison {
  constructor(world, port) { Object.assign(this, { world, port }); }

  /** An event for comparing sessions: a client keeps what a redaction emptied, unless it reads the redaction itself. */
  brief(event) { return this.world.redactedIds.has(event.event_id) ? { event_id: event.event_id } : essence(event); }

  /** A fresh session with the same parameters; it asks for no to-device messages, which it would hold back for ever. */
  async twin(client, params = client.params) {
    const { to_device, ...rest } = params;
    const { user, device } = client;
    const twin = new Client({ name: `a fresh session of ${client.name}`, world: this.world, user, device, port: this.port, params: rest });
    const quiet = client.random.fork('no losses');
    quiet.chance = () => false;
    await within(twin.name, () => twin.turn(quiet));
    twin.close();
    return twin;
  }

  /** All rooms of a device with what orders and filters look at. */
  reference(client) {
    if (!client.params.room_list) return this.twin(client, {});
    return this.twin(client, { room_list: { required_state: reference_state, timeline_limit: 5, p: { limit: 1000 } } });
  }

  /** Everything of one device. `truth` knows `truth.rooms`. */
  async device(clients, truth) {
    const reference = await this.reference(clients[0]);
    blaming([reference], () => within(reference.name, () => this.listAgainstTruth(reference, truth)));
    await Promise.all(clients.map(async (client) => {
      client.reference = reference.list.rooms;
      const twin = await this.twin(client);
      blaming([client, twin, reference], () => {
        within(client.name, () => this.withTwin(client, twin));
        within(twin.name, () => this.withTruth(client, twin, reference.list.rooms, truth));
      });
    }));
  }

  // --- a client and its twin

  withTwin(client, twin) {
    same(sortedMap(client.accountData.events), sortedMap(twin.accountData.events), 'account_data');
    same(client.typing.typists, twin.typing.typists, 'typing');
    if (client.params.room_list) this.lists(client, twin);
    if (client.params.room && !this.ignoredInvite(client.user, this.world.roomOf(client.params.room.room_id))) this.views(client.room.room, twin.room.room, client.params.room, client.user);
    if (client.params.room_members) this.memberLists(client, twin);
  }

  /** `limited` and `prev_batch` speak of what a client has, and members may have been added by `lazy_load_members`: left out. */
  entry({ timeline, state_after, p, ...room }, user) {
    const state = (state_after?.events || []).filter((event) => event.type !== 'm.room.member').map((event) => this.brief(event));
    const at = (event) => JSON.stringify([event.type, event.state_key, event.event_id]);
    return { ...room, timeline: this.known(this.heard(timeline?.events || [], user)), state: state.sort((a, b) => byId(at(a), at(b))) };
  }

  lists(client, twin) {
    const [mine, other] = [client, twin].map(({ list, user }) => new Map([...list.rooms].map(([id, room]) => [id, this.entry(room, user)])));
    if (client.user.everIgnored.size > 0) for (const [id, room] of mine) if (other.has(id)) sameLength(room, other.get(id));
    same(sortedMap(mine), sortedMap(other), 'room_list');
  }

  /** What came before its sender was ignored is still with the client, and shown to no new session. */
  heard(timeline, user) {
    const ignored = new Set([...user.everIgnored].map((other) => other.id));
    return timeline.filter((event) => event.state_key !== undefined || !ignored.has(event.sender));
  }

  views(room, fresh, params, user) {
    same(room?.membership, fresh?.membership, 'room.membership');
    if (!room) return;
    same(room.name, fresh.name, 'room.name');
    if (room.membership !== 'join') {
      same(room.prejoin, fresh.prejoin, 'room: stripped state');
      return;
    }
    this.timelines(room, fresh, params.timeline_limit ?? 20, user);
    this.states(room, fresh, params);
    same(room.summary, fresh.summary, 'room.summary');
    same([room.unread, room.threads], [fresh.unread, fresh.threads], 'room.unread_notifications and unread_thread_notifications');
    same(sortedMap(shownReceipts(room.receipts)), sortedMap(shownReceipts(fresh.receipts)), 'room: receipts');
    same(sortedMap(room.accountData), sortedMap(fresh.accountData), 'room.account_data');
  }

  timelines(room, fresh, limit, user) {
    const [mine, other] = [room, fresh].map(({ timeline }) => this.known(this.heard(timeline, user)));
    demand(fresh.timeline.length >= Math.min(limit, mine.length), `a fresh session has ${fresh.timeline.length} events, the client ${mine.length}, the limit is ${limit}`);
    const shown = Math.min(mine.length, other.length);
    same(mine.slice(mine.length - shown), other.slice(other.length - shown), 'room.timeline');
  }

  known(timeline) { return timeline.map((event) => this.brief(event)); }

  /** All that is required; members that were only added lazily are not kept up to date by anybody. */
  states(room, fresh, params) {
    const all = (params.required_state || []).some(([type]) => type === 'm.room.member');
    const shape = (state) => sortedMap([...state].filter(([, event]) => all || event.type !== 'm.room.member'), (event) => this.brief(event));
    same(shape(room.state), shape(fresh.state), 'room.state_after');
  }

  memberLists(client, twin) {
    const memberships = client.params.room_members.membership || ['join', 'invite'];
    const shape = (model) => sortedMap(new Map(model.with(memberships).map((event) => [event.state_key, event])), (event) => this.brief(event));
    same(shape(client.members), shape(twin.members), 'room_members');
  }

  /** api.md has no word with which the room stream could take back an invite because its sender is ignored now. */
  ignoredInvite(user, room) {
    return room?.membership(user) === 'invite' && user.everIgnored.has(room.inviter.get(user));
  }

  // --- fresh sessions and the homeserver

  listAgainstTruth(reference, truth) {
    if (!reference.params.room_list) return;
    const { rooms } = reference.list;
    for (const room of truth.rooms) within(`room_list, ${room.label} (${room.id})`, () => checkListed(rooms.get(room.id), room, truth, this.world));
    if (!truth.all) return;
    const expected = ['join', 'invite', 'knock'].flatMap((kind) => Object.keys(truth.sync.rooms?.[kind] || {}));
    // An invite of somebody who was ignored then is told by first polls only.
    const sure = (id) => !this.ignoredInvite(truth.user, this.world.roomOf(id));
    same([...rooms.keys()].filter(sure).sort(), expected.filter(sure).sort(), 'the rooms of room_list');
  }

  withTruth(client, twin, reference, truth) {
    const { room_list, room, room_members, typing } = client.params;
    if (room_list) this.order(twin, room_list, reference);
    same(sortedMap(twin.accountData.events, essence), sortedMap(truth.accountData, essence), 'account_data');
    const seen = truth.rooms.find((each) => each.id === typing.room_id);
    if (!seen) return;
    within(seen.label, () => {
      if (!seen.unheard.has(client.user)) same(twin.typing.typists, truth.joined(seen) ? truth.typists(seen) : [], 'typing');
      if (room) checkView(twin.room.room, seen, truth, room, this.world);
      if (room_members && truth.joined(seen)) checkMembers([...twin.members.events.values()], seen, truth, room_members);
      else same([...twin.members.events.values()], [], 'room_members of a room that the user is not in');
    });
  }

  order(twin, { filters, spaces, p }, reference) {
    const places = spaces ? spaceOrder(spaces, reference) : undefined;
    const listed = [...reference.values()].filter((room) => matches(room, filters) && (!places || places.includes(room.room_id)));
    const expected = sortRooms(listed, usedSort(p?.sort, spaces), places);
    const brief = ({ room_id, name, timestamp, highlight_count, notification_count }) => ({ room_id, name, timestamp, highlight_count, notification_count });
    same([...twin.list.rooms.values()].map(brief), expected.map(brief), 'room_list: its rooms in their order');
  }
}

module.exports = { Comparison };
