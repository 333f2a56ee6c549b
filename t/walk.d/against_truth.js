// One room as v3 shows it, against what the homeserver says of it.
'use strict';

const { isDeepStrictEqual } = require('node:util');
const { demand, same } = require('./difference');
const { allowed, essence, byKey, shownReceipts } = require('./truth');
const { roomNames, prejoinNames } = require('./expect_name');
const { sortMembers } = require('./order');

function oneOf(got, expected, what) {
  demand(expected.includes(got), `${what} is ${JSON.stringify(got)}, not one of ${JSON.stringify([...new Set(expected)])}`, { got, expected });
}

/** Whom a user has ever ignored: which of their messages a device still holds depends on when, and an invite of theirs on the homeserver. */
const everIgnored = (truth, world) => new Set([...truth.user.everIgnored].map((user) => user.id));

// --- names and people

function membersOf(room, truth) {
  return new Map(truth.members.get(room.id).map((event) => [event.state_key, event]));
}

/** All that the room may be called; of those that may have been left over from before it lost its name, what `got` may be. */
function names(room, truth, got) {
  const members = membersOf(room, truth), summary = truth.joined(room).summary || {};
  const of = (heroes) => roomNames((type) => truth.stateOf(room, type), { ...summary, 'm.heroes': heroes }, members, truth.user.id);
  if (!lostItsName(room, truth)) return of(summary['m.heroes']);
  const named = [...members].filter(([id, { content }]) => id !== truth.user.id && got.includes(content.displayname || id));
  return arrangements(named.map(([id]) => id), 5).flatMap(of);
}

/** Every order of every few of them, at most so many; the empty one too. */
function arrangements(list, most) {
  if (most === 0) return [[]];
  return [[], ...list.flatMap((first) => arrangements(list.filter((each) => each !== first), most - 1).map((others) => [first, ...others]))];
}

/** It has had a name and has none now: with the name the homeserver named no heroes, and without it does not until members change. */
const lostItsName = (room, truth) => ['m.room.name', 'm.room.canonical_alias'].some((type) => truth.stateOf(room, type)) &&
  !truth.stateOf(room, 'm.room.name')?.content.name && !truth.stateOf(room, 'm.room.canonical_alias')?.content.alias;

/** As the homeserver has told them to everybody; none of a room with a name, and api.md does not say whether v3 shows any then. */
const toldHeroes = (room, truth) => (lostItsName(room, truth) ? undefined : truth.joined(room).summary?.['m.heroes']);

function checkHeroes(heroes = [], room, truth) {
  const members = membersOf(room, truth), expected = toldHeroes(room, truth);
  for (const { user_id, displayname, avatar_url } of heroes) {
    const content = members.get(user_id)?.content || {};
    same([displayname ?? null, avatar_url ?? null], [content.displayname ?? null, content.avatar_url ?? null], `heroes: displayname and avatar_url of ${user_id}`);
  }
  if (expected) same(heroes.map((hero) => hero.user_id).sort(), [...expected].sort(), 'heroes');
}

// --- a room of the list

/** What a listed room must be asked for to be checked and to be sorted by. */
const reference_state = [['m.room.create', ''], ['m.space.child', '*'], ['m.room.name', '']];

function checkListed(listed, room, truth, world) {
  const membership = truth.membership(room), ignored = everIgnored(truth, world);
  if (room.membership(truth.user) === 'invite' && ignored.has(room.inviter.get(truth.user)?.id)) return;
  same(listed?.membership, membership, 'membership');
  if (!membership) return;
  if (membership === 'join') checkJoined(listed, room, truth, ignored);
  else checkPrejoin(listed, room, truth, membership);
}

function checkPrejoin(listed, room, truth, membership) {
  const events = prejoinEvents(room, truth, membership);
  same(listed[`${membership}_state`]?.events?.map(strippedEssence), events.map(strippedEssence), `${membership}_state.events`);
  oneOf(listed.name, prejoinNames(events, truth.user.id), 'name');
  const find = (type) => events.find((event) => event.type === type)?.content;
  same(listed.avatar_url ?? undefined, find('m.room.avatar')?.url, 'avatar_url');
  same(Boolean(listed.is_encrypted), Boolean(find('m.room.encryption')), 'is_encrypted');
  same(listed.room_type ?? undefined, find('m.room.create')?.type, 'room_type');
  const own = events.find((event) => event.type === 'm.room.member' && event.state_key === truth.user.id);
  if (membership === 'invite') same(Boolean(listed.is_dm), own?.content.is_direct === true || truth.isDirect(room), 'is_dm');
  if (own?.origin_server_ts) same(listed.timestamp, own.origin_server_ts, 'timestamp');
  for (const name of ['joined_count', 'invited_count', 'timeline', 'state_after']) {
    demand(listed[name] === undefined || listed[name]?.events?.length === 0, `${name} of a room that the user is not in`, { got: listed[name] });
  }
}

const prejoinEvents = (room, truth, membership) => (membership === 'invite' ? truth.invited(room).invite_state.events : truth.knocked(room).knock_state.events);

function strippedEssence(event) {
  const { unsigned, ...rest } = event;
  return rest;
}

function checkJoined(listed, room, truth, ignored) {
  const classic = truth.joined(room), data = truth.roomAccountData(room);
  oneOf(listed.name, names(room, truth, listed.name), 'name');
  same(listed.avatar_url || undefined, truth.stateOf(room, 'm.room.avatar')?.content.url || undefined, 'avatar_url');
  checkHeroes(listed.heroes, room, truth);
  same(listed.room_type ?? undefined, truth.stateOf(room, 'm.room.create').content.type, 'room_type');
  same(Boolean(listed.is_dm), truth.isDirect(room), 'is_dm');
  same(Boolean(listed.is_encrypted), Boolean(truth.stateOf(room, 'm.room.encryption')), 'is_encrypted');
  same(listed.tags || {}, data.get('m.tag')?.content.tags || {}, 'tags');
  same(Boolean(listed.marked_unread), data.get('m.marked_unread')?.content.unread === true, 'marked_unread');
  const people = ['join', 'invite'].map((each) => truth.membersWith(room, each).length);
  same([listed.joined_count, listed.invited_count], people, 'joined_count and invited_count');
  const unread = ['highlight_count', 'notification_count'];
  sameCounts(unread.map((name) => listed[name] || 0), truth.counts(room).map((counts) => unread.map((name) => sum(counts, name))), `${unread}, threads added in`);
  checkTimestamp(listed, classic, ignored);
  checkTimeline(listed.timeline?.events || [], classic, {}, truth.user.id, ignored);
  demand(listed.timeline?.events?.length > 0 || classic.timeline.events.length === 0, 'a room of the list shows no event');
  checkState(listed.state_after?.events || [], room, truth, reference_state);
}

function sum({ unread, threads }, name) {
  return [unread, ...Object.values(threads)].reduce((total, each) => total + (each?.[name] || 0), 0);
}

/** The counts as one of the two ways in which a device may have been told them: Truth.counts. */
function sameCounts(got, [now, told], what) {
  same(got, isDeepStrictEqual(got, told) ? told : now, what);
}

/** An event counts also when its sender is ignored only since: what the homeserver says now lacks it. */
function checkTimestamp(listed, classic, ignored) {
  const newest = classic.timeline.events.at(-1).origin_server_ts;
  if (ignored.size === 0) same(listed.timestamp, newest, 'timestamp of the newest event');
  else demand(listed.timestamp >= newest || classic.timeline.events.some((event) => ignored.has(event.sender)), `timestamp ${listed.timestamp} is older than that of the newest event, ${newest}`);
}

// --- timeline and state

/** What filters let through; whom the user ever ignored is left out on both sides, but for state. */
function filtered(events, { types, not_types }, ignored) {
  const let_through = ({ type }) => (!types || types.includes(type)) && !not_types?.includes(type);
  return events.filter((event) => let_through(event) && (event.state_key !== undefined || !ignored.has(event.sender)));
}

const withUnsigned = (event) => {
  const kept = Object.fromEntries(Object.entries(event.unsigned || {}).filter(([name]) => allowed.includes(name) && name !== 'redacted_because'));
  return { ...essence(event), unsigned: kept };
};

/**
 * When the user last came in, by the homeserver's clock, if its timeline says so. Where the history is not for who comes later, Synapse gives
 * those state events of before that are of the present state, and that is another state when it is asked later: they are left out.
 */
function cameInAt(events, user) {
  const joins = (event) => event.type === 'm.room.member' && event.state_key === user && event.content.membership === 'join' && event.unsigned?.prev_content?.membership !== 'join';
  return events.findLast(joins)?.origin_server_ts ?? 0;
}

/** The newest events of both are the same; the homeserver was asked for enough of them. */
function checkTimeline(events, classic, params, user, ignored) {
  const cameIn = cameInAt(classic.timeline.events, user);
  const [mine, theirs] = [events, classic.timeline.events].map((list) =>
    filtered(list, params, ignored).filter((event) => event.state_key === undefined || event.origin_server_ts >= cameIn));
  const shown = Math.min(mine.length, theirs.length);
  const shape = (list) => list.slice(list.length - shown).map((event) => (event.unsigned?.redacted_because ? essence(event) : withUnsigned(event)));
  const left = theirs.slice(theirs.length - shown);
  const redacted = new Set(left.filter((event) => event.unsigned?.redacted_because).map((event) => event.event_id));
  same(mine.slice(mine.length - shown).map((event) => (redacted.has(event.event_id) ? essence(event) : withUnsigned(event))), shape(theirs), 'timeline');
}

function wanted(required, { type, state_key }) {
  const names = ([any, key]) => (any === type || (any === '*' && type !== 'm.room.member')) && (key === '*' || key === state_key);
  return required.some(names);
}

/** "First all that required_state names"; members may be there beside, but only as they are. */
function checkState(events, room, truth, required) {
  const shape = (list) => Object.fromEntries([...byKey(list)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, event]) => [id, essence(event)]));
  const state = [...truth.state.get(room.id).values()];
  same(shape(events.filter((event) => wanted(required, event))), shape(state.filter((event) => wanted(required, event))), 'state_after');
  const others = events.filter((event) => !wanted(required, event));
  same(others.filter((event) => event.type !== 'm.room.member').map((event) => event.type), [], 'state_after: what nobody required');
  const members = membersOf(room, truth);
  same(shape(others), shape(others.map((event) => members.get(event.state_key) || { type: 'no such member', state_key: event.state_key })), 'state_after: members added lazily');
}

/** Lazily loaded members: of the senders of the timeline, and at first of the heroes and the user. */
function checkLazyMembers(view, room, truth) {
  const there = new Set([...view.state.values()].filter((event) => event.type === 'm.room.member').map((event) => event.state_key));
  const members = membersOf(room, truth);
  const needed = [...view.timeline.map((event) => event.sender), truth.user.id, ...(toldHeroes(room, truth) || [])].filter((id) => members.has(id));
  same([...new Set(needed)].filter((id) => !there.has(id)), [], 'lazily loaded members that are missing');
}

// --- the room in view, and its members

const everything_but_members = [['*', '*']];

/** `view` is what one initial answer of the room stream made. */
function checkView(view, room, truth, params, world) {
  const membership = truth.membership(room), ignored = everIgnored(truth, world);
  if (room.membership(truth.user) === 'invite' && ignored.has(room.inviter.get(truth.user)?.id)) return;
  same(view?.membership, membership, 'room.membership');
  if (!membership) return;
  if (membership !== 'join') {
    same(view.prejoin.map(strippedEssence), prejoinEvents(room, truth, membership).map(strippedEssence), `room.${membership}_state`);
    return;
  }
  const classic = truth.joined(room);
  oneOf(view.name, names(room, truth, view.name), 'room.name');
  checkTimeline(view.timeline, classic, params, truth.user.id, ignored);
  checkAmount(view, classic, params, ignored);
  checkState([...view.state.values()], room, truth, params.required_state || everything_but_members);
  if (params.lazy_load_members !== false) checkLazyMembers(view, room, truth);
  checkSummary(view.summary, room, truth);
  const counts = truth.counts(room).map(({ unread, threads }) => [unread, threads]);
  sameCounts([view.unread, view.threads], counts, 'room.unread_notifications and unread_thread_notifications');
  const shape = (map) => Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1)));
  checkReceipts(shownReceipts(view.receipts), shownReceipts(truth.receipts(room)), room, room.cameIn.get(truth.user), shape);
  same(shape(view.accountData), shape(truth.roomAccountData(room)), 'room.account_data');
}

/**
 * Classic sync does not tell whoever comes in of the receipts of before (a first poll does), nor of those that moved while one was away. Synapse tells of a receipt in a thread, but not
 * in a first poll when the user has one of no thread at the same event, were it one that nobody else is told of (MSC4102).
 */
function checkReceipts(mine, theirs, room, cameIn, shape) {
  const before = (id) => theirs.get(id)?.ts <= cameIn;
  const stale = ([id, { ts }]) => before(id) && ts < theirs.get(id).ts;
  const known = new Map([...mine].filter((receipt) => !stale(receipt)));
  const told = [...known].filter(([id, { event }]) => theirs.has(id) || !hidden(room, id, event));
  const needed = [...theirs].filter(([id]) => known.has(id) || !before(id));
  same(shape(told), shape(needed), 'room: receipts');
}

function hidden(room, id, event) {
  const [, user, thread] = JSON.parse(id);
  return thread !== null && room.unthreaded.has(JSON.stringify([user, event]));
}

/** "Where less than timeline_limit is known, what is known comes": the newest event is always known. */
function checkAmount(view, classic, params, ignored) {
  const limit = params.timeline_limit ?? 20;
  const newest = filtered(classic.timeline.events.slice(-1), params, ignored);
  if (limit > 0 && newest.length > 0) demand(view.timeline.length > 0, 'the newest event is not shown', { expected: newest });
  const whole = view.limited === false && view.timeline.length > 0 && !params.types && !params.not_types;
  if (whole) same(view.timeline[0].type, 'm.room.create', 'the first event of an initial timeline that is not limited');
}

function checkSummary(summary, room, truth) {
  const expected = truth.joined(room).summary || {};
  for (const name of ['m.joined_member_count', 'm.invited_member_count']) {
    if (expected[name] !== undefined) same(summary[name] ?? 0, expected[name], `summary.${name}`);
  }
  const heroes = toldHeroes(room, truth);
  if (heroes) same([...(summary['m.heroes'] || [])].sort(), [...heroes].sort(), 'summary.m.heroes');
}

/** All pages of the members, in their order. */
function checkMembers(events, room, truth, { membership = ['join', 'invite'], p }) {
  const levels = truth.stateOf(room, 'm.room.power_levels'), create = truth.stateOf(room, 'm.room.create');
  const expected = sortMembers(truth.membersWith(room, ...membership), p?.sort === 'by_name' ? 'by_name' : 'by_pl', create, levels);
  same(events.map(essence), expected.map(essence), 'room_members in their order');
}

module.exports = { reference_state, checkListed, checkView, checkMembers };
