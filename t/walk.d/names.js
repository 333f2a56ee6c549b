// Names that people really give themselves, and those that programs stumble over. Those that are sorted by have a casefold that is exactly
// String.prototype.toLowerCase after NFKC (no ß, no final sigma, no dotted capital I), so that the order can be computed here.
'use strict';

const displayNames = [
  'Alice', 'alice', 'ALICE', 'Bob', 'bob ', ' Bob', 'Carol', 'Émile', 'E\u0301mile', 'Zoë', 'Ｆｕｌｌｗｉｄｔｈ', 'ﬁnch', 'Ångström', '\u212bngstrom',
  '아이유', '日本語', 'Дмитрий', 'דוד', '\u202eevil\u202c', 'a\u200db', '👩‍👩‍👧‍👦', '🏳️‍🌈 flag', '💯', '\ud83d\ude00', 'x'.repeat(200), '"quoted" \\ back', '<b>bold</b>',
  'line\nbreak', 'tab\there', '% _ %', "O'Brien", '①②③', '𝔘𝔫𝔦𝔠𝔬𝔡𝔢', '', null, 'Z\u0351\u036b\u0343', '\u2028', '0', '10', '9', '~', 'null', 'true',
];

const roomNames = [
  'Room', 'room', 'A room', 'Another Room', 'Éclair', 'zebra', 'ＷＩＤＥ', '部屋', '👋', 'with "quotes"', '', 'Ａ room', 'lobby', 'Lobby', 'LOBBY 2', '100 %', 'under_score',
  'a\u0301', 'á', 'x'.repeat(120),
];

const texts = ['hello', 'ä ö ü', '\u0001 control', '🎉🎉', 'a "quote"', 'back\\slash', '\u2028 separator', 'e'.repeat(2000), 'مرحبا', '</script>'];

const tags = ['m.favourite', 'm.lowpriority', 'u.work', 'u.\u00e4/~"', 'm.server_notice'];

const orders = ['a', 'aa', 'b', '~', ' ', 'Z', 'x'.repeat(50), 'x'.repeat(51), 'ä', '', '0'];

module.exports = { displayNames, roomNames, texts, tags, orders };
