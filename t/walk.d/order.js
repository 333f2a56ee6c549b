// The orders and filters of api.md, computed once more and on their own.
'use strict';

/** NFKC_Casefold, for the names of this world (names.js). */
function casefold(text) {
  const folded = text.normalize('NFKC').toLowerCase().normalize('NFKC');
  return folded.replace(/\p{Default_Ignorable_Code_Point}/gu, '').normalize('NFKC');
}

function byCodePoint(a, b) {
  const [left, right] = [Array.from(a), Array.from(b)];
  for (let i = 0; i < left.length && i < right.length; i++) {
    if (left[i] !== right[i]) return left[i].codePointAt(0) - right[i].codePointAt(0);
  }
  return left.length - right.length;
}

const byName = (a, b) => byCodePoint(casefold(a), casefold(b));

// --- members

const memberName = ({ state_key, content }) => content.displayname || state_key.slice(1);

const privileged = (version) => Number(version) >= 12;

/** The power level of a user; creators of new room versions stand above all numbers. */
function powerLevel(user, create, levels) {
  const version = create.content.room_version || '1';
  const creators = [create.sender, ...(create.content.additional_creators || [])];
  if (privileged(version) && creators.includes(user)) return Infinity;
  if (!levels) return user === (create.content.creator || create.sender) ? 100 : 0;
  return levels.content.users?.[user] ?? levels.content.users_default ?? 0;
}

function sortMembers(events, sort, create, levels) {
  const level = (event) => (sort === 'by_pl' ? powerLevel(event.state_key, create, levels) : 0);
  const higher = (a, b) => (level(a) === level(b) ? 0 : level(b) > level(a) ? 1 : -1);
  return [...events].sort((a, b) => higher(a, b) || byName(memberName(a), memberName(b)) || byCodePoint(a.state_key, b.state_key));
}

// --- rooms

const validOrder = (order) => typeof order === 'string' && /^[\x20-\x7e]{1,50}$/.test(order);

/** The children of a space in the specification's order. */
function children(events) {
  const counted = events.filter(({ type, content }) => type === 'm.space.child' && Array.isArray(content.via) && content.via.length > 0);
  const order = ({ content }) => (validOrder(content.order) ? content.order : undefined);
  return counted.sort((a, b) => {
    const [left, right] = [order(a), order(b)];
    if (left !== right && (left === undefined || right === undefined)) return left === undefined ? 1 : -1;
    return (left === undefined ? 0 : byCodePoint(left, right)) || a.origin_server_ts - b.origin_server_ts || byCodePoint(a.state_key, b.state_key);
  }).map((event) => event.state_key);
}

/** Rooms of these spaces in order, each where it comes first; `reference` holds every joined room with its m.space.child. */
function spaceOrder(spaces, reference) {
  const all = spaces.flatMap((space) => {
    const room = reference.get(space);
    return room && room.membership === 'join' ? children(room.state_after?.events || []) : [];
  });
  return [...new Set(all)];
}

const comparisons = {
  by_recency: (a, b) => b.timestamp - a.timestamp,
  by_name: (a, b) => byName(a.name, b.name),
  by_highlight_count: (a, b) => (b.highlight_count || 0) - (a.highlight_count || 0),
  by_notification_count: (a, b) => (b.notification_count || 0) - (a.notification_count || 0),
};

function sortRooms(rooms, sorts, places = []) {
  const place = new Map(places.map((id, at) => [id, at]));
  const comparing = sorts.map((sort) => comparisons[sort] || ((a, b) => (place.get(a.room_id) ?? Infinity) - (place.get(b.room_id) ?? Infinity) || 0));
  return [...rooms].sort((a, b) => {
    for (const compare of comparing) {
      const order = compare(a, b);
      if (order) return order;
    }
    return byCodePoint(a.room_id, b.room_id);
  });
}

/** The sort that the server really uses: what it does not know is dropped, and the default put in its place. */
function usedSort(sort, spaces) {
  const asked = sort === undefined ? [] : [sort].flat();
  const used = asked.map((each) => (comparisons[each] || (each === 'by_space_order' && spaces?.length) ? each : 'by_recency'));
  return used.length ? [...new Set(used)] : ['by_recency'];
}

/** A room without a type has the type null; not_… wins. Names are searched as they are sorted by, casefolded. */
function matches(room, filters = {}) {
  const { is_dm, is_encrypted, is_invite, room_types, not_room_types, tags, not_tags, room_name_like } = filters;
  const type = room.room_type ?? null, named = Object.keys(room.tags || {});
  return (is_dm === undefined || Boolean(room.is_dm) === is_dm)
    && (is_encrypted === undefined || Boolean(room.is_encrypted) === is_encrypted)
    && (is_invite === undefined || (room.membership === 'invite') === is_invite)
    && (!room_types || room_types.includes(type)) && !not_room_types?.includes(type)
    && (!tags || tags.some((tag) => named.includes(tag))) && !not_tags?.some((tag) => named.includes(tag))
    && (room_name_like === undefined || casefold(room.name).includes(casefold(room_name_like)));
}

module.exports = { casefold, byCodePoint, sortMembers, sortRooms, usedSort, spaceOrder, matches };
