#!/usr/bin/env python3
"""Makes the quickstart's ranked data: a small language world whose answers are rewarded by rule.

    python3 tools/quickstart_data.py                     writes data/quickstart/{sft,train,test}.jsonl
    python3 tools/quickstart_data.py --out DIR --seed N  the same elsewhere, or another world
    python3 tools/quickstart_data.py --score FILE        recomputes every reward of FILE and says where one differs

Six kinds of query, each a "group" of the data:
    reverse    Say these words in reverse order: hat, goat, saw.    Backwards that is saw, goat, hat.
    sums       What is four plus nine?                              That makes thirteen.
    names      Name two fruits and one animal.                      I can name apple, pear, dog.
    opposites  Give the opposites of hot, big, early.               The opposites are cold, small, late.
    repeat     Say hat three times.                                 Here it is: hat, hat, hat.
    odd        Which word does not belong: pear, dog, plum, fig?    The odd one is dog.

The reward of a response is computed from its query and its text alone:
    reward = (content + manner) / 2, rounded to three decimals
    content   how much of what was asked for is there, 0 to 1 (see the task classes)
    manner    half for a polite last sentence, half for keeping to the matter: nothing off topic, nothing said twice;
              0 when a sentence is rude

train.jsonl and test.jsonl hold 4 to 6 responses a query, of every quality, and no query in common. sft.jsonl holds one
response a row drawn from the same mixture of good and bad: a model warmed up on it knows how answers look and has no
taste yet, which is where fine-tuning from rankings starts.

The data are dedicated to the public domain (CC0 1.0). The same seed gives the same bytes with any Python 3.9 or later.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Optional, Sequence, TypeVar

Item = TypeVar("Item")

WORDS = {
    "fruit": ["apple", "pear", "plum", "fig", "lemon", "peach"],
    "animal": ["dog", "cat", "horse", "goat", "mouse", "duck"],
    "colour": ["red", "blue", "green", "brown", "white", "yellow"],
    "tool": ["hammer", "saw", "spade", "rake", "drill", "axe"],
    "room": ["kitchen", "attic", "cellar", "hall", "bedroom", "pantry"],
    "garment": ["coat", "hat", "scarf", "shirt", "sock", "glove"],
}
OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("early", "late"), ("high", "low"), ("hard", "soft"), ("wet", "dry"),
    ("old", "young"), ("fast", "slow"), ("full", "empty"), ("loud", "quiet"), ("rich", "poor"), ("near", "far"),
]
NUMBERS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
]
POLITE = ["I hope this helps.", "Happy to help.", "Have a nice day.", "Ask me again any time."]
OFF_TOPIC = ["By the way, soup is lovely.", "It rained all morning.", "My chair is too low.", "Trains are often late."]
RUDE = ["What a silly question.", "Leave me alone now.", "Look it up yourself.", "You should know that."]

KIND_OF = {word: kind for kind, words in WORDS.items() for word in words}
THINGS = list(KIND_OF)
OPPOSITE_OF = {**dict(OPPOSITES), **{right: left for left, right in OPPOSITES}}


class Random:
    """SplitMix64: the same draws on every machine and in every version of Python."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def _next(self) -> int:
        mask = (1 << 64) - 1
        self._state = (self._state + 0x9E3779B97F4A7C15) & mask
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        return mixed ^ (mixed >> 31)

    def below(self, limit: int) -> int:
        return self._next() % limit

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, share: float) -> bool:
        return self._next() < share * (1 << 64)

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def sample(self, items: Sequence[Item], count: int) -> list[Item]:
        return self.shuffled(items)[:count]


class Task(ABC):
    """One kind of query: how it is asked, what answers it gets, and what an answer is worth."""

    group: str
    lead: str  # what an answer sentence says before its items
    ways: Sequence[str]  # how a query may be put, {} where its matter stands

    def __init__(self) -> None:
        self._patterns = [re.compile(re.escape(way).replace(r"\{\}", "(.+)")) for way in self.ways]

    def matter(self, query: str) -> Optional[str]:
        """What a query of this kind asks about, or None for a query of another kind."""
        found = [pattern.fullmatch(query) for pattern in self._patterns]
        return next((match.group(1) for match in found if match), None)

    def ask(self, random: Random) -> str:
        return random.pick(self.ways).replace("{}", self.new_matter(random))

    def say(self, items: Sequence[str]) -> str:
        return f"{self.lead} {', '.join(items)}."

    def read(self, sentence: str) -> Optional[list[str]]:
        """The items of an answer sentence, or None for any other sentence."""
        if not sentence.startswith(self.lead + " ") or not sentence.endswith("."):
            return None
        return sentence[len(self.lead) + 1 : -1].split(", ")

    @abstractmethod
    def new_matter(self, random: Random) -> str: ...

    @abstractmethod
    def right(self, matter: str, random: Random) -> list[str]:
        """The items of a right answer."""

    @abstractmethod
    def stray(self, matter: str, random: Random) -> str:
        """An item that a wrong answer may hold in place of a right one."""

    @abstractmethod
    def content(self, matter: str, items: list[str]) -> float:
        """What the items are worth, 0 to 1."""


def share_in_place(wanted: list[str], items: list[str]) -> float:
    """The share of places that hold what they should; places too many count as wrong."""
    hits = sum(want == item for want, item in zip(wanted, items))
    return hits / max(len(wanted), len(items))


class Reverse(Task):
    group = "reverse"
    lead = "Backwards that is"
    ways = ["Say these words in reverse order: {}.", "Read this list from last to first: {}."]

    def new_matter(self, random: Random) -> str:
        return ", ".join(random.sample(THINGS, random.between(3, 4)))

    def right(self, matter: str, random: Random) -> list[str]:
        return matter.split(", ")[::-1]

    def stray(self, matter: str, random: Random) -> str:
        return random.pick(matter.split(", ") if random.chance(0.5) else THINGS)

    def content(self, matter: str, items: list[str]) -> float:
        return share_in_place(matter.split(", ")[::-1], items)


class Sums(Task):
    """A right number is worth 1, a neighbour of it 0.3."""

    group = "sums"
    lead = "That makes"
    ways = ["What is {}?", "Work out {}.", "How much is {}?"]

    def new_matter(self, random: Random) -> str:
        left, right = random.between(1, 9), random.between(1, 9)
        if random.chance(0.6):
            return f"{NUMBERS[left]} plus {NUMBERS[right]}"
        return f"{NUMBERS[max(left, right)]} minus {NUMBERS[min(left, right)]}"

    @staticmethod
    def result(matter: str) -> int:
        left, sign, right = matter.split()
        return NUMBERS.index(left) + (1 if sign == "plus" else -1) * NUMBERS.index(right)

    def right(self, matter: str, random: Random) -> list[str]:
        return [NUMBERS[self.result(matter)]]

    def stray(self, matter: str, random: Random) -> str:
        if random.chance(0.5):
            return random.pick(NUMBERS)
        return NUMBERS[min(max(self.result(matter) + random.between(-2, 2), 0), 18)]

    def content(self, matter: str, items: list[str]) -> float:
        if len(items) != 1 or items[0] not in NUMBERS:
            return 0.0
        return {0: 1.0, 1: 0.3}.get(abs(NUMBERS.index(items[0]) - self.result(matter)), 0.0)


class Names(Task):
    """The share of the wished-for words that are there, each different; words too many count as wrong."""

    group = "names"
    lead = "I can name"
    ways = ["Name {}.", "Please tell me {}."]

    def new_matter(self, random: Random) -> str:
        kinds = random.sample(list(WORDS), 2)
        return " and ".join(self.phrase(kind, random.between(1, 3)) for kind in kinds)

    @staticmethod
    def phrase(kind: str, count: int) -> str:
        return f"{NUMBERS[count]} {kind}{'s' if count > 1 else ''}"

    @staticmethod
    def wishes(matter: str) -> dict[str, int]:
        phrases = [phrase.split() for phrase in matter.split(" and ")]
        return {kind if kind in WORDS else kind[:-1]: NUMBERS.index(count) for count, kind in phrases}

    def right(self, matter: str, random: Random) -> list[str]:
        return [word for kind, count in self.wishes(matter).items() for word in random.sample(WORDS[kind], count)]

    def stray(self, matter: str, random: Random) -> str:
        return random.pick(THINGS)

    def content(self, matter: str, items: list[str]) -> float:
        wishes = self.wishes(matter)
        wanted = sum(wishes.values())
        hits = 0
        for item in dict.fromkeys(items):
            kind = KIND_OF.get(item, "")
            if wishes.get(kind, 0) > 0:
                wishes[kind] -= 1
                hits += 1
        return hits / max(wanted, len(items))


class Opposites(Task):
    group = "opposites"
    lead = "The opposites are"
    ways = ["Give the opposites of {}.", "Turn each word into its opposite: {}."]

    def new_matter(self, random: Random) -> str:
        pairs = random.sample(OPPOSITES, random.between(2, 4))
        return ", ".join(random.pick(pair) for pair in pairs)

    def right(self, matter: str, random: Random) -> list[str]:
        return [OPPOSITE_OF[word] for word in matter.split(", ")]

    def stray(self, matter: str, random: Random) -> str:
        return random.pick(matter.split(", ") if random.chance(0.5) else list(OPPOSITE_OF))

    def content(self, matter: str, items: list[str]) -> float:
        return share_in_place([OPPOSITE_OF[word] for word in matter.split(", ")], items)


class Repeat(Task):
    group = "repeat"
    lead = "Here it is:"
    ways = ["Say {} times.", "Repeat {} times."]

    def new_matter(self, random: Random) -> str:
        return f"{random.pick(THINGS)} {NUMBERS[random.between(2, 6)]}"

    def right(self, matter: str, random: Random) -> list[str]:
        word, count = matter.split()
        return [word] * NUMBERS.index(count)

    def stray(self, matter: str, random: Random) -> str:
        return random.pick(THINGS)

    def content(self, matter: str, items: list[str]) -> float:
        return share_in_place(self.right(matter, Random(0)), items)


class Odd(Task):
    """Right or wrong: 1 or 0."""

    group = "odd"
    lead = "The odd one is"
    ways = ["Which word does not belong: {}?", "Find the odd one out: {}."]

    def new_matter(self, random: Random) -> str:
        kind, other = random.sample(list(WORDS), 2)
        return ", ".join(random.shuffled(random.sample(WORDS[kind], 3) + [random.pick(WORDS[other])]))

    def right(self, matter: str, random: Random) -> list[str]:
        words = matter.split(", ")
        kinds = [KIND_OF[word] for word in words]
        return [word for word, kind in zip(words, kinds) if kinds.count(kind) == 1]

    def stray(self, matter: str, random: Random) -> str:
        return random.pick(matter.split(", "))

    def content(self, matter: str, items: list[str]) -> float:
        return float(items == self.right(matter, Random(0)))


TASKS = [Reverse(), Sums(), Names(), Opposites(), Repeat(), Odd()]


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with its end mark."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def manner(parts: list[str], answers: int) -> float:
    """Half for a polite last sentence, half for keeping to the matter; 0 with a rude sentence."""
    if any(part in RUDE for part in parts):
        return 0.0
    polite = bool(parts) and parts[-1] in POLITE
    to_the_point = answers == 1 and len(parts) == answers + polite
    return 0.5 * polite + 0.5 * to_the_point


def reward(query: str, response: str) -> float:
    """The rule: (content + manner) / 2. An answer is read from the first sentence that has the form of one.

    Raises ValueError for a query that is not of this world.
    """
    for task in TASKS:
        matter = task.matter(query)
        if matter is None:
            continue
        parts = sentences(response)
        answers = [items for items in map(task.read, parts) if items is not None]
        content = task.content(matter, answers[0]) if answers else 0.0
        return round((content + manner(parts, len(answers))) / 2, 3)
    raise ValueError(f"not a query of the quickstart world: {query!r}")


def flawed(task: Task, matter: str, random: Random) -> list[str]:
    """A right answer with one to three flaws: an item swapped for another, left out, said twice, or two exchanged."""
    items = task.right(matter, random)
    for _ in range(random.between(1, 3)):
        place = random.below(len(items))
        flaw = random.below(5)
        if flaw == 0 and len(items) > 1:
            del items[place]
        elif flaw == 1 and len(items) > 1:
            other = random.below(len(items))
            items[place], items[other] = items[other], items[place]
        elif flaw == 2 and len(items) > 1:
            items.insert(place, items[place])
        else:
            items[place] = task.stray(matter, random)
    return items


def respond(task: Task, query: str, random: Random) -> str:
    """One response of any quality: content and manner are drawn apart."""
    matter = task.matter(query) or ""
    items = task.right(matter, random) if random.chance(0.35) else flawed(task, matter, random)
    parts = [task.say(items)]
    if random.chance(0.4):
        parts.append(random.pick(OFF_TOPIC))
    if random.chance(0.3):
        parts.insert(random.below(len(parts) + 1), random.pick(RUDE))
    elif random.chance(0.5):
        parts.append(random.pick(POLITE))
    return " ".join(parts)


def ranked_row(task: Task, query: str, count: int, random: Random) -> dict:
    """A query with `count` different responses. A reward that is already there is mostly drawn again: ties are rare."""
    responses: list[str] = []
    rewards: list[float] = []
    while len(responses) < count:
        response = respond(task, query, random)
        value = reward(query, response)
        if response in responses or (value in rewards and random.chance(0.97)):
            continue
        responses.append(response)
        rewards.append(value)
    return {"query": query, "responses": responses, "scores": rewards, "group": task.group}


def new_query(task: Task, taken: set[str], random: Random) -> str:
    """A query that is not taken yet."""
    for _ in range(200):
        query = task.ask(random)
        if query not in taken:
            return query
    raise RuntimeError(f"no new query of the group {task.group} is left")


def make_world(seed: int) -> dict[str, list[dict]]:
    """The three files' rows. Test queries are drawn first and stay out of the other two."""
    random = Random(seed)
    files: dict[str, list[dict]] = {}
    held_out: set[str] = set()
    for name, count in [("test", 200), ("train", 1500), ("sft", 3000)]:
        taken = set(held_out)
        rows = []
        for number in range(count):
            task = TASKS[number % len(TASKS)] if name == "test" else random.pick(TASKS)
            query = new_query(task, taken, random)
            if name != "sft":
                taken.add(query)
            rows.append(ranked_row(task, query, 1 if name == "sft" else random.between(4, 6), random))
        if name == "test":
            held_out = taken
        files[name] = rows
    return files


def write_world(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in make_world(seed).items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_bytes(lines.encode("ascii"))
        print(f"{folder / name}.jsonl: {len(rows)} rows, {len(lines):,} bytes")


def check_rewards(path: Path) -> int:
    """Says which rewards of a file differ from the rule's; the number of them."""
    wrong = checked = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        for response, given in zip(row["responses"], row["scores"]):
            expected = reward(row["query"], response)
            checked += 1
            if expected != given:
                wrong += 1
                print(f"{path}:{number}: {given} given, {expected} by the rule: {response}")
    print(f"{path}: {checked} rewards, {wrong} differ from the rule")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes or checks the quickstart's ranked data.")
    default = Path(__file__).resolve().parent.parent / "data" / "quickstart"
    parser.add_argument("--out", type=Path, default=default, help="folder to write to [data/quickstart]")
    parser.add_argument("--seed", type=int, default=1, help="which world [1]")
    parser.add_argument("--score", type=Path, metavar="FILE", help="recompute the rewards of FILE instead")
    options = parser.parse_args()
    if options.score:
        return 1 if check_rewards(options.score) else 0
    write_world(options.out, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
