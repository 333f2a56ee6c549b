// What the homeserver tells: numbered to-device messages, numbered events in rooms that ten devices share, and changes of device lists.
// It keeps what every client has to have in the end.
'use strict';

const matrix = require('../lib/matrix');

const devices_in_a_room = 10;
const tick_ms = 100, messages_a_tick = 3, events_a_tick = 0.4, lists_a_tick = 1;
const hot_share = 0.7;        // of what is said concerns one in ten, for whom something is always under way
const most_behind = 300;      // answers that no poll has fetched yet: no more is said while there are so many

class Feed {
  constructor(homeserver, random, count) {
    this.random = random;
    this.devices = Array.from({ length: count }, () => homeserver.device());
    this.rooms = [];
    for (let i = 0; i < count; i += devices_in_a_room) this.rooms.push(newRoom(this.devices.slice(i, i + devices_in_a_room)));
    this.hot = { devices: random.sample(this.devices, count / 10), rooms: random.sample(this.rooms, this.rooms.length / 10) };
    this.said = { messages: 0, events: 0, lists: 0 };
  }

  get behind() { return this.devices.reduce((sum, device) => sum + device.answers.length - device.acknowledged, 0); }

  get polled() { return this.devices.filter((device) => device.waiting.size > 0).length; }

  state() {
    return `${this.polled} of ${this.devices.length} devices are polled, ${this.behind} answers are to be fetched`;
  }

  start() { this.timer = setInterval(() => this.tick(), tick_ms); }
  stop() { clearInterval(this.timer); }

  tick() {
    if (this.behind > most_behind) return;
    for (let i = 0; i < messages_a_tick; i++) this.message(this.one('devices'));
    for (let i = 0; i < lists_a_tick; i++) this.listChange(this.one('devices'));
    if (this.random.chance(events_a_tick)) this.event(this.one('rooms'));
  }

  one(of) { return this.random.pick(this.random.chance(hot_share) ? this.hot[of] : this[of]); }

  message(device) {
    const { truth } = device;
    const events = Array.from({ length: this.random.between(1, 3) }, () => ({ ...matrix.toDevice(''), content: { number: ++truth.messages, at: Date.now() } }));
    this.said.messages += events.length;
    device.push({ to_device: { events } });
  }

  /** Mostly of a user nobody has heard of; else the other word about one who is known. */
  listChange(device) {
    const { lists } = device.truth;
    const known = [...lists.keys()];
    const again = known.length > 0 && this.random.chance(0.3);
    const user = again ? this.random.pick(known) : `@other${known.length}:hs.test`;
    const word = again && lists.get(user) === 'changed' ? 'left' : 'changed';
    lists.set(user, word);
    this.said.lists++;
    device.push({ device_lists: { [word]: [user] } });
  }

  /** Every fourth is the room's new name. */
  event(room) {
    const content = { number: ++room.events, at: Date.now() };
    const event = content.number % 4 === 0 ? matrix.state('m.room.name', { ...content, name: (room.name = `Room ${content.number}`) }) : matrix.event({ content });
    this.said.events++;
    for (const device of room.devices) device.push(matrix.join({ [room.id]: matrix.more(event) }));
  }
}

function newRoom(devices) {
  const room = { id: matrix.roomId(), devices, events: 0, name: 'Room 0' };
  const shared = [matrix.create(), matrix.state('m.room.name', { name: room.name })];
  for (const device of devices) {
    device.truth = { room, messages: 0, lists: new Map() };
    device.merge = merge;
    const timeline = { events: [], limited: false, prev_batch: 'p0' };
    device.initial = matrix.join({ [room.id]: { state: { events: [...shared, matrix.member(device.user_id)] }, timeline } });
  }
  return room;
}

/** One answer instead of several, as a homeserver gives it to who was away. */
function merge(answers) {
  const merged = {};
  const lists = new Map();
  for (const { to_device, device_lists = {}, rooms } of answers) {
    if (to_device) ((merged.to_device ??= { events: [] }).events).push(...to_device.events);
    for (const word of ['changed', 'left']) for (const user of device_lists[word] || []) lists.set(user, word);
    for (const [id, { timeline }] of Object.entries(rooms ? rooms.join : {})) {
      const joined = ((merged.rooms ??= { join: {} }).join[id] ??= { timeline: { ...timeline, events: [] } });
      joined.timeline.events.push(...timeline.events);
    }
  }
  const users = (word) => [...lists].filter(([, last]) => last === word).map(([user]) => user);
  if (lists.size > 0) merged.device_lists = { changed: users('changed'), left: users('left') };
  return merged;
}

module.exports = { Feed };
