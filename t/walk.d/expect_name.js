// The name of a room by "Calculating the display name for a room" of the client-server specification, with the texts of api.md.
'use strict';

const shown = (id, members) => members.get(id)?.content?.displayname || id;

/** "Disambiguated if required": a server that loads members lazily cannot know that others than the heroes require it, so both are right. */
const disambiguated = (among) => (id, members) => {
  const name = members.get(id)?.content?.displayname;
  return name && among.some((other) => other !== id && members.get(other)?.content.displayname === name) ? `${name} (${id})` : shown(id, members);
};

/** All texts that stand for these people among `others` others. api.md: `Alice`, `Alice and Bob`, `Alice, Bob and 3 others`. */
function lists(names, others) {
  const joined = (some) => (some.length === 1 ? some[0] : `${some.slice(0, -1).join(', ')} and ${some[some.length - 1]}`);
  const found = names.length >= others ? [joined(names)] : [];
  // How many names go before "and N others" api.md does not say: the specification says all heroes, the example shows two.
  for (let n = 1; n <= names.length; n++) {
    const rest = others - n;
    if (rest > 0) found.push(`${names.slice(0, n).join(', ')} and ${rest} ${rest === 1 ? 'other' : 'others'}`);
  }
  return found;
}

/** Every name that is right for a joined room: `summary` is the homeserver's, `members` its member events by user ID. */
function roomNames(state, summary, members, self) {
  const name = state('m.room.name')?.content.name, alias = state('m.room.canonical_alias')?.content.alias;
  if (name) return [name];
  if (alias) return [alias];
  const others = (summary['m.joined_member_count'] || 0) + (summary['m.invited_member_count'] || 0) - 1;
  const heroes = (summary['m.heroes'] || []).filter((id) => id !== self);
  const texts = [shown, disambiguated([...members.keys()]), disambiguated(heroes)].map((text) => heroes.map((id) => text(id, members)));
  if (others > 0) return texts.flatMap((names) => (names.length > 0 ? lists(names, others) : ['Empty Room']));
  return texts.flatMap((names) => (names.length > 0 ? lists(names, names.length).map((list) => `Empty Room (was ${list})`) : ['Empty Room']));
}

/** For an invite or a knock there is only stripped state: its members other than oneself may stand in for heroes. */
function prejoinNames(events, self) {
  const find = (type) => events.find((event) => event.type === type)?.content;
  if (find('m.room.name')?.name) return [find('m.room.name').name];
  if (find('m.room.canonical_alias')?.alias) return [find('m.room.canonical_alias').alias];
  const members = new Map(events.filter((event) => event.type === 'm.room.member').map((event) => [event.state_key, event]));
  const others = [...members.keys()].filter((id) => id !== self);
  return ['Empty Room', ...(others.length > 0 ? lists(others.map((id) => shown(id, members)), others.length) : [])];
}

module.exports = { roomNames, prejoinNames };
