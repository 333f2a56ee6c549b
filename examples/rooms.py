#!/usr/bin/env python3
"""A live room list and a live room in a terminal: how a client uses sync v3 (docs/api.md). Python 3.9, standard library only.

    MATRIX_TOKEN=... examples/rooms.py --url https://matrix.example.org

A screen names the streams that it needs; Session.sync asks for them and goes on from answer to answer; the screen applies what comes.
"""
import argparse
import copy
import http.client
import json
import os
import random
import select
import shutil
import sys
import time
from urllib.parse import urlencode, urlsplit

WAIT = 30         # seconds that the server may hold a request while there is no news
PATIENCE = 120    # and how much longer until we think that nobody answers any more
TOP = 30          # rooms of the list, messages of a room that are shown

# --- the protocol

class Refused(Exception):
    """An error that no waiting mends."""

    def __init__(self, status, answer):
        self.errcode = answer.get("errcode")
        super().__init__(f"{status} {self.errcode}: {answer.get('error', 'is there sync v3?')}")

class Session:
    """A session of sync v3: the token to go on from, and what the server has been asked for with it.

    `wait(seconds, socket)` comes back as true when there is something to read; `tell(text)` is for what a user should know.
    """

    def __init__(self, url, token, wait, tell):
        url = urlsplit(url)
        connect = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[url.scheme]
        self.connection = connect(url.hostname, url.port, timeout=PATIENCE)
        self.path = url.path.rstrip("/") + "/_matrix/client/v3/sync"
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.wait, self.tell = wait, tell
        self.forget()

    def forget(self):
        """The next request opens a new session."""
        self.since, self.streams, self.partial = None, {}, False

    def sync(self, streams, first_page_of=None, wait=WAIT):
        """The next answer. Parameters are sticky: only those are sent that the token does not stand for yet. p.since is not
        sticky; "1" asks for the first page of a stream, and without it there are only changes."""
        body = copy.deepcopy(merge_patch(self.streams, streams))
        if first_page_of:
            body.setdefault(first_page_of, {}).setdefault("p", {})["since"] = "1"
        answer = self.ask(body, wait)
        # Not before there is an answer: a request that was lost is made again with the same token and the same body.
        self.since, self.streams, self.partial = answer["next"], streams, answer.get("partial", False)
        return answer

    def next_page(self, stream, page):
        """A further page of a snapshot: `since` must not move until the last one is here."""
        return self.ask({stream: {"p": {"since": page}}}, 0)[stream]

    def ask(self, body, wait):
        """An answer 200, however often it takes."""
        tries = 0
        while True:
            # At once when a connection that was kept open has ended; then ever more slowly, and not all clients at one moment.
            pause = min(60, 2 ** (tries - 1)) * random.uniform(0.5, 1) if tries else 0
            try:
                status, headers, answer = self.post(body, wait)
                if status == 200 and "next" in answer:
                    return answer
                if status != 429 and status < 500:
                    raise Refused(status, answer)
                trouble, pause = f"The server says {status}", retry_after(headers, answer) or pause
            except (OSError, http.client.HTTPException) as error:
                trouble = f"No connection: {error or type(error).__name__}"
            if pause:
                self.tell(f"{trouble}; trying again in {pause:.0f} s")
            self.wait(pause)
            tries += 1

    def post(self, body, wait):
        if self.connection.sock is None:
            wait = 0    # what TLS says at first looks like the beginning of an answer; so do not wait for news just yet
        target = f"{self.path}?{urlencode({'timeout': wait * 1000, **({'since': self.since} if self.since else {})})}"
        try:
            self.connection.request("POST", target, json.dumps(body), self.headers)
            if not self.wait(wait + PATIENCE, self.connection.sock):
                raise TimeoutError("no answer")
            response = self.connection.getresponse()
            text = response.read()
        except BaseException:
            self.connection.close()    # whatever still comes on it is no answer to the next request
            raise
        is_json = response.headers.get_content_type() == "application/json"    # a proxy's error page is not
        return response.status, response.headers, json.loads(text) if is_json else {}

def merge_patch(old, new):
    """What makes `new` of `old`, as a JSON Merge Patch (RFC 7396): null removes."""
    patch = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old or not isinstance(value, dict):
            patch.update({key: value} if old.get(key) != value else {})
        elif old[key] != value:
            patch[key] = merge_patch(old[key], value)
    return patch

def retry_after(headers, answer):
    seconds = headers.get("Retry-After", "")
    return int(seconds) if seconds.isdecimal() else answer.get("retry_after_ms", 0) / 1000

# --- the screens

class RoomList:
    """All rooms, the latest first: all pages of one snapshot, and from then on what changes."""
    prompt = "number: open a room · q: quit > "

    def __init__(self):
        self.begin()

    def begin(self):
        self.rooms, self.shown, self.complete = {}, [], False

    def sync(self, session):
        """Asks once; yields whenever there is something new to see."""
        streams = {"room_list": {"timeline_limit": 1, "p": {"limit": 20, "sort": "by_recency"}}}
        if self.complete:
            rooms = session.sync(streams).get("room_list", {}).get("rooms", [])
            self.update(rooms)
            if rooms:
                yield
            return
        answer = session.sync(streams, first_page_of="room_list", wait=0)
        if "room_list" not in answer:
            sys.exit("This server has no stream room_list.")
        page = answer["room_list"]
        self.rooms = {}
        self.update(page["rooms"])
        while "next" in page["p"]:
            yield
            try:
                page = session.next_page("room_list", page["p"]["next"])
            except Refused as refused:
                if refused.errcode == "M_INVALID_PARAM":
                    return    # the server has given the snapshot up; we begin with another
                raise
            self.update(page["rooms"])
        self.complete = True
        yield

    def update(self, rooms):
        """An entry is a whole room, whatever we knew of it; or it says that the room is not, or not for long, in the list."""
        for room in rooms:
            if room.get("listed", True) and room["membership"] not in ("leave", "ban"):
                self.rooms[room["room_id"]] = room
            else:
                self.rooms.pop(room["room_id"], None)
        self.shown = sorted(self.rooms.values(), key=lambda room: (-room["timestamp"], room["room_id"]))[:TOP]

    def lines(self, height):
        yield f"== Rooms: {len(self.rooms)}{'' if self.complete else ' ...'}"
        for number, room in enumerate(self.shown[:height - 1], 1):
            yield f"{number:3} {words(room['name']):<28.28} {badge(room):>8} {marks(room):<14} {last_words(room)}".rstrip()

    def choose(self, line):
        """The screen that a typed line leads to; None is the end."""
        if line.isdecimal() and 1 <= int(line) <= len(self.shown):
            line = self.shown[int(line) - 1]["room_id"]
        return None if line == "q" else Room(line) if line.startswith("!") else self

class Room:
    """One room: its latest messages, who types, and the first of its members."""
    prompt = "Enter: back to the list · q: quit > "

    def __init__(self, room_id):
        self.room_id = room_id
        self.begin()

    def begin(self):
        self.room, self.topic, self.timeline, self.gap = {}, "", [], False
        self.names, self.first_members, self.member_count, self.typists = {}, [], None, []
        self.complete = False

    def sync(self, session):
        # A page of members is wanted each time, because only the first few are shown: changes do not tell who these are now.
        answer = session.sync({
            "room": {"room_id": self.room_id, "timeline_limit": 50},
            "typing": {"room_id": self.room_id},
            "room_members": {"room_id": self.room_id, "membership": ["join"], "p": {"limit": 5, "sort": "by_pl"}},
        }, first_page_of="room_members", wait=WAIT if self.complete else 0)
        news = not self.complete or not {"room", "typing", "room_members"}.isdisjoint(answer)
        self.complete = True
        if "room" in answer:
            self.update(answer["room"])
        if "typing" in answer:
            self.typists = answer["typing"]["events"][-1]["content"]["user_ids"]
        if "p" in answer.get("room_members", {}):
            self.first_members = [event["state_key"] for event in answer["room_members"]["events"]]
            self.member_count = answer["room_members"]["p"]["count"]
            self.learn(answer["room_members"]["events"])
        if news:
            yield

    def update(self, room):
        timeline = room.get("timeline", {"events": []})
        if room.get("initial") or timeline.get("limited"):
            # It replaces what was here; or between the two something is missing, which /messages gives from prev_batch.
            self.timeline, self.gap = [], timeline.get("limited", False)
        self.room = {**self.room, **room}
        self.timeline = (self.timeline + [event for event in timeline["events"] if event["type"] != "m.room.redaction"])[-200:]
        self.learn(room.get("state_after", {"events": []})["events"])
        for redaction in timeline["events"]:
            if redaction["type"] == "m.room.redaction":    # the server has emptied its copy of the event; here is ours
                redacted = redaction["content"].get("redacts") or redaction.get("redacts")
                for event in self.timeline:
                    if event["event_id"] == redacted:
                        event["content"] = {}

    def learn(self, state):
        for event in state:
            if event["type"] == "m.room.member":
                self.names[event["state_key"]] = words(event["content"].get("displayname"))
            elif event["type"] == "m.room.topic":
                self.topic = words(event["content"].get("topic"))

    def name_of(self, user):
        return self.names.get(user) or short(user)

    def lines(self, height):
        yield f"== {words(self.room.get('name') or self.room_id)}"
        if self.topic:
            yield f"   {self.topic}"
        if self.complete and self.room.get("membership") != "join":
            yield f"   your membership: {self.room.get('membership', 'none that the server knows of')}"
        if self.member_count is not None:
            more = self.member_count - len(self.first_members)
            names = ", ".join(map(self.name_of, self.first_members))
            yield f"   {self.member_count} members: {names}{f' and {more} more' if more > 0 else ''}"
        space = min(TOP, max(1, height - 6))
        if self.gap or len(self.timeline) > space:
            yield "   ..."
        for event in self.timeline[-space:]:
            at = time.strftime("%H:%M", time.localtime(event["origin_server_ts"] / 1000))
            yield f"{at} {self.name_of(event['sender'])}: {describe(event, self.name_of)}"
        if self.typists:
            yield f"   typing: {', '.join(map(self.name_of, self.typists))}"

    def choose(self, line):
        return None if line == "q" else RoomList() if line in ("", "b") else self

# --- in words

def words(value):
    """Others chose it: it may be anything in place of a string, and nothing in it shall be a command to the terminal."""
    return "".join(each if each.isprintable() else " " for each in value) if isinstance(value, str) else ""

def short(user):
    return words(user[1:].split(":")[0])

def describe(event, name_of=short):
    kind, content = event["type"], event["content"]
    if kind in ("m.room.message", "m.sticker"):
        return words(content.get("body")) or "(deleted)"
    if kind == "m.room.member":
        return f"({words(content.get('membership'))} {name_of(event['state_key'])})"
    detail = words(content.get(kind.split(".")[-1]))    # of m.room.name the name, of m.room.topic the topic
    return f"({words(kind)}{': ' if detail else ''}{detail})"

def last_words(room):
    for event in room.get("invite_state", {}).get("events", []):
        if event["type"] == "m.room.member" and event["content"].get("membership") == "invite":
            return f"from {short(event['sender'])}"
    events = room.get("timeline", {}).get("events", [])
    return f"{short(events[-1]['sender'])}: {describe(events[-1])}" if events else ""

def badge(room):
    """How many messages are unread, and how many of these are for us."""
    unread, highlights = room.get("notification_count", 0), room.get("highlight_count", 0)
    return f"{unread or ('*' if room.get('marked_unread') else '')}{f' ({highlights}!)' if highlights else ''}"

def marks(room):
    return " ".join(word for word, there in ((room["membership"], room["membership"] != "join"), ("DM", room.get("is_dm")),
                                             ("encrypted", room.get("is_encrypted"))) if there)

# --- the terminal

class Typed(Exception):
    """A line was typed while we waited."""

class Keyboard:
    def __init__(self):
        self.typed, self.open = b"", True

    def wait(self, seconds, socket=None):
        """True when there is something to read from the socket, False when the time is up. A line typed ends it by Typed."""
        ends = time.monotonic() + seconds
        while b"\n" not in self.typed:
            ready, _, _ = select.select([*filter(None, [socket, self.open and sys.stdin])], [], [], max(0, ends - time.monotonic()))
            if sys.stdin in ready:
                more = os.read(sys.stdin.fileno(), 4096)
                self.open = bool(more)
                self.typed += more or (b"q\n" if sys.stdin.isatty() else b"")
            elif socket in ready or time.monotonic() >= ends:
                return socket in ready
        line, self.typed = self.typed.split(b"\n", 1)
        raise Typed(line.decode(errors="replace").strip())

class Display:
    """Draws in place on a terminal. Elsewhere, and if `plain`, every update is a block of text with an empty line after it."""

    def __init__(self, plain):
        self.plain = plain or not sys.stdout.isatty()

    def __enter__(self):
        self.put("" if self.plain else "\x1b[?1049h\x1b[?7l")    # the other page of the terminal; long lines are cut
        return self

    def __exit__(self, *_):
        self.put("" if self.plain else "\x1b[?7h\x1b[?1049l")

    def turn_to(self, screen):
        if not self.plain:
            self.put(f"\x1b[H{screen.prompt}\x1b[K")
            self.draw(screen)

    def draw(self, screen, trouble=None):
        """The first row is for typing; what stands there, and the cursor, stay."""
        note = [f"-- {trouble}"] if trouble else []
        if self.plain:
            self.put("\n".join(note or screen.lines(1 << 30)) + "\n\n")
        else:
            height = shutil.get_terminal_size().lines - 3
            lines = [*note, *screen.lines(height - len(note))][:height]
            self.put("\x1b7\x1b[3H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J\x1b8")

    def put(self, text):
        sys.stdout.write(text)
        sys.stdout.flush()

# --- the program

def run(options, display):
    screen, room = RoomList(), options.room
    session = Session(options.url, options.token, Keyboard().wait, lambda trouble: display.draw(screen, trouble))
    display.turn_to(screen)
    while screen:
        try:
            if room and (room.startswith("!") or screen.complete):
                screen, room = screen.choose(room), None
                if not isinstance(screen, Room):
                    sys.exit(f"The list has no room {options.room}.")
                display.turn_to(screen)
            for _ in screen.sync(session):
                if not options.once:
                    display.draw(screen)
            if options.once and not room and not session.partial:
                display.draw(screen)
                return
        except Typed as typed:
            screen = screen.choose(str(typed))
            if screen:
                display.turn_to(screen)
        except Refused as refused:
            if refused.errcode != "M_UNKNOWN_SYNC_SESSION" or not session.since:
                raise
            session.forget()    # a server may end a session when it likes; all begins anew
            screen.begin()

def main():
    parser = argparse.ArgumentParser(description="A live room list, or a live room, by sync v3.")
    parser.add_argument("--url", required=True, help="where clients reach the homeserver: https://matrix.example.org")
    parser.add_argument("--token", default=os.environ.get("MATRIX_TOKEN"), help="access token; better in the environment, as MATRIX_TOKEN")
    parser.add_argument("--room", help="begin with this room: its ID, or its number in the list")
    parser.add_argument("--plain", action="store_true", help="text for every update, as when the output is no terminal")
    parser.add_argument("--once", action="store_true", help="the first state as text, and no more")
    options = parser.parse_args()
    if not options.url.startswith(("http://", "https://")):
        parser.error(f"{options.url} is no URL")
    if not options.token:
        parser.error("no access token: set MATRIX_TOKEN")
    sys.stdout.reconfigure(errors="replace")
    try:
        with Display(options.plain or options.once) as display:
            run(options, display)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)    # nobody reads any more; what is left to say has nowhere to go
    except Refused as refused:
        sys.exit(str(refused))

if __name__ == "__main__":
    main()
