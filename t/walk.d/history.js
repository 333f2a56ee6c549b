// Going back from prev_batch with /messages: nothing that is older than the first event shown may be missing.
'use strict';

const { encode } = require('./world');
const { demand, same } = require('./difference');

const most = 400;

/** Events before `from` (or before now), newest first. */
async function back(user, room, from) {
  const events = [];
  while (events.length < most) {
    const page = await user.call('GET', `${room.at}/messages?dir=b&limit=200${from ? `&from=${encode(from)}` : ''}`);
    events.push(...page.chunk);
    from = page.end;
    if (!from) return { events, all: true };
  }
  return { events, all: false };
}

/** Whether the prev_batch of a view that deltas were added to still leads to what is before its first event. */
const anchored = (view) => Boolean(view?.anchor) && view.timeline[0]?.event_id === view.anchor;

/** "Going back from it with /messages meets every event before the first one shown, and may first repeat shown ones." */
async function checkHistory(user, room, view) {
  if (!view || view.membership !== 'join' || !view.prev_batch) return false;
  const [truth, behind] = [await back(user, room), await back(user, room, view.prev_batch)];
  const first = view.timeline[0]?.event_id;
  const at = first === undefined ? -1 : truth.events.findIndex((event) => event.event_id === first);
  // Nothing of those who are ignored now is in what the homeserver tells of the past.
  const ignored = [...user.ignored.keys()].some((other) => other.id === view.timeline[0]?.sender);
  // Synapse shows state that holds still also to those whom the room's history is not for, in sync only.
  const state = view.timeline[0]?.state_key !== undefined;
  if (first !== undefined && at < 0 && (ignored || state || !truth.all)) return false;
  demand(first === undefined || at >= 0, `the first event shown of ${room.label} is not in its history`, { got: first });
  const older = truth.events.slice(at + 1).map((event) => event.event_id);
  const met = new Set(behind.events.map((event) => event.event_id));
  // Where not all was read, the last ones of the one side may lie beyond the other's end.
  const sure = behind.all ? older : older.slice(0, Math.max(0, older.findLastIndex((id) => met.has(id))));
  // The homeserver's history is in another order than its sync, so what is shown may stand among what is older.
  const shown = new Set(view.timeline.map((event) => event.event_id));
  same(sure.filter((id) => !met.has(id) && !shown.has(id)), [], `events of ${room.label} before the first one shown that /messages does not meet from prev_batch`);
  return true;
}

module.exports = { checkHistory, anchored };
