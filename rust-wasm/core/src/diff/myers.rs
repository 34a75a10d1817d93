//! Myers' algorithm with the choices that git makes, so that merges agree with `git merge-file`.
//!
//! Where several shortest scripts exist, and where a cut-off trades the shortest for speed, which one is found depends
//! on the order of the search, on which lines are left out of it beforehand, and on how changes slide afterwards.
//! Each step here follows what git does, on line numbers instead of lines.

use imara_diff::{Hunk, Token};

/// Align two texts given as numbers below `distinct`.
pub fn hunks(before: &[Token], after: &[Token], distinct: usize) -> Vec<Hunk> {
    let (mut one, mut two) = (Side::new(before), Side::new(after));
    leave_out(&mut one, &mut two, distinct);
    search(&mut one, &mut two);
    slide(&mut one, &mut two);
    slide(&mut two, &mut one);
    let mut hunks = Vec::new();
    let (mut a, mut b) = (Group::first(&one), Group::first(&two));
    loop {
        if a.start != a.end || b.start != b.end {
            hunks.push(Hunk { before: a.start as u32..a.end as u32, after: b.start as u32..b.end as u32 });
        }
        let (Some(next_a), Some(next_b)) = (a.next(&one), b.next(&two)) else { return hunks };
        (a, b) = (next_a, next_b);
    }
}

struct Side<'a> {
    lines: &'a [Token],
    /// Is the line changed? With one `false` before the first and one after the last.
    changed: Vec<bool>,
    /// The lines that take part in the search.
    kept: Vec<usize>,
}

impl<'a> Side<'a> {
    fn new(lines: &'a [Token]) -> Self {
        Self { lines, changed: vec![false; lines.len() + 2], kept: Vec::with_capacity(lines.len()) }
    }

    fn is_changed(&self, line: isize) -> bool {
        self.changed[(line + 1) as usize]
    }

    fn change(&mut self, line: usize, changed: bool) {
        self.changed[line + 1] = changed;
    }
}

// --- before the search: lines that cannot match, or match too much among such, are changed from the start -----------

/// Lines with that many equals on the other side are left out where others around them are.
const MOST_EQUALS: usize = 1024;
/// How far "around" reaches.
const AROUND: usize = 100;

#[derive(Clone, Copy, PartialEq)]
enum Equals {
    None,
    Some,
    Many,
}

fn leave_out(one: &mut Side<'_>, two: &mut Side<'_>, distinct: usize) {
    let count = |lines: &[Token]| {
        let mut counts = vec![0_usize; distinct];
        lines.iter().for_each(|&line| counts[line.0 as usize] += 1);
        counts
    };
    let (in_one, in_two) = (count(one.lines), count(two.lines));
    let start = one.lines.iter().zip(two.lines).take_while(|(a, b)| a == b).count();
    let (rest_one, rest_two) = (&one.lines[start..], &two.lines[start..]);
    let end = rest_one.iter().rev().zip(rest_two.iter().rev()).take_while(|(a, b)| a == b).count();
    keep(one, &in_two, start, end);
    keep(two, &in_one, start, end);
}

fn keep(side: &mut Side<'_>, others: &[usize], start: usize, end: usize) {
    let limit = rough_root(side.lines.len()).min(MOST_EQUALS);
    let equals = |line: &Token| match others[line.0 as usize] {
        0 => Equals::None,
        count if count >= limit => Equals::Many,
        _ => Equals::Some,
    };
    let middle: Vec<Equals> = side.lines[start..side.lines.len() - end].iter().map(equals).collect();
    for (i, &equals) in middle.iter().enumerate() {
        let keeps = equals == Equals::Some || equals == Equals::Many && !among_unmatched(&middle, i);
        if keeps { side.kept.push(start + i) } else { side.change(start + i, true) }
    }
}

/// Do lines without equals stand on both sides of a line with many, and prevail?
fn among_unmatched(middle: &[Equals], at: usize) -> bool {
    let run = |lines: &mut dyn Iterator<Item = &Equals>| {
        let (mut none, mut many) = (0, 0);
        for equals in lines.take(AROUND).take_while(|equals| **equals != Equals::Some) {
            *(if *equals == Equals::None { &mut none } else { &mut many }) += 1;
        }
        (none, many)
    };
    let (none_before, many_before) = run(&mut middle[..at].iter().rev());
    let (none_after, many_after) = run(&mut middle[at + 1..].iter());
    // The line itself counts once for each direction.
    let (none, many) = (none_before + none_after, many_before + many_after + 2);
    none_before > 0 && none_after > 0 && many * 4 < many + none
}

/// A power of two near the square root.
fn rough_root(mut number: usize) -> usize {
    let mut root = 1;
    while number > 0 {
        root <<= 1;
        number >>= 2;
    }
    root
}

// --- the search -----------------------------------------------------------------------------------------------------

/// Matching lines in a row that make a promising place to split at.
const SNAKE: i32 = 20;
/// Cost from which promising places are taken.
const PATIENCE: i32 = 256;
const PROMISE: i32 = 4;

struct Search<'a> {
    a: &'a [Token],
    b: &'a [Token],
    /// Furthest positions in `a` by diagonal, from the start and from the end.
    forward: Vec<i32>,
    backward: Vec<i32>,
    /// Index of diagonal 0.
    zero: i32,
    /// Cost at which the furthest position is taken.
    limit: i32,
}

/// A stretch of both texts.
#[derive(Clone, Copy)]
struct Stretch {
    a: (i32, i32),
    b: (i32, i32),
    /// Must the script be the shortest here?
    shortest: bool,
}

/// Where to split a stretch, and which halves must be done shortest.
struct Split {
    a: i32,
    b: i32,
    shortest: (bool, bool),
}

fn search(one: &mut Side<'_>, two: &mut Side<'_>) {
    let lines = |side: &Side<'_>| side.kept.iter().map(|&line| side.lines[line]).collect::<Vec<Token>>();
    let (a, b) = (lines(one), lines(two));
    let diagonals = a.len() + b.len() + 3;
    let mut search = Search {
        forward: vec![0; diagonals],
        backward: vec![0; diagonals],
        zero: b.len() as i32 + 1,
        limit: (rough_root(diagonals) as i32).max(PATIENCE),
        a: &a,
        b: &b,
    };
    // Halves wait here instead of on the call stack, whose depth a peer's text would decide.
    let mut waiting = vec![Stretch { a: (0, a.len() as i32), b: (0, b.len() as i32), shortest: false }];
    while let Some(stretch) = waiting.pop() {
        let Stretch { a, b, .. } = search.without_ends(stretch);
        if a.0 == a.1 {
            (b.0..b.1).for_each(|line| two.change(two.kept[line as usize], true));
        } else if b.0 == b.1 {
            (a.0..a.1).for_each(|line| one.change(one.kept[line as usize], true));
        } else {
            let split = search.split(Stretch { a, b, shortest: stretch.shortest });
            waiting.push(Stretch { a: (split.a, a.1), b: (split.b, b.1), shortest: split.shortest.1 });
            waiting.push(Stretch { a: (a.0, split.a), b: (b.0, split.b), shortest: split.shortest.0 });
        }
    }
}

impl Search<'_> {
    fn same(&self, a: i32, b: i32) -> bool {
        self.a[a as usize] == self.b[b as usize]
    }

    fn without_ends(&self, mut stretch: Stretch) -> Stretch {
        let Stretch { a, b, .. } = &mut stretch;
        while a.0 < a.1 && b.0 < b.1 && self.same(a.0, b.0) {
            (a.0, b.0) = (a.0 + 1, b.0 + 1);
        }
        while a.0 < a.1 && b.0 < b.1 && self.same(a.1 - 1, b.1 - 1) {
            (a.1, b.1) = (a.1 - 1, b.1 - 1);
        }
        stretch
    }

    /// Search from both ends until the paths meet, or until it has cost enough.
    fn split(&mut self, stretch: Stretch) -> Split {
        let Stretch { a, b, shortest } = stretch;
        let (least, most) = (a.0 - b.1, a.1 - b.0);
        let (middle_forward, middle_backward) = (a.0 - b.0, a.1 - b.1);
        let odd = (middle_forward - middle_backward) & 1 != 0;
        let (mut forward, mut backward) =
            ((middle_forward, middle_forward), (middle_backward, middle_backward));
        let zero = self.zero;
        let at = |diagonal: i32| (zero + diagonal) as usize;
        self.forward[at(middle_forward)] = a.0;
        self.backward[at(middle_backward)] = a.1;
        let mut cost = 0;
        loop {
            cost += 1;
            let mut snake = false;
            // One step further on each diagonal; the ones just outside are made unreachable.
            if forward.0 > least {
                forward.0 -= 1;
                self.forward[at(forward.0 - 1)] = -1;
            } else {
                forward.0 += 1;
            }
            if forward.1 < most {
                forward.1 += 1;
                self.forward[at(forward.1 + 1)] = -1;
            } else {
                forward.1 -= 1;
            }
            for diagonal in (forward.0..=forward.1).rev().step_by(2) {
                let (below, above) = (self.forward[at(diagonal - 1)], self.forward[at(diagonal + 1)]);
                let from = if below >= above { below + 1 } else { above };
                let mut to = from;
                while to < a.1 && to - diagonal < b.1 && self.same(to, to - diagonal) {
                    to += 1;
                }
                snake |= to - from > SNAKE;
                self.forward[at(diagonal)] = to;
                let meets = odd && (backward.0..=backward.1).contains(&diagonal);
                if meets && self.backward[at(diagonal)] <= to {
                    return Split { a: to, b: to - diagonal, shortest: (true, true) };
                }
            }
            if backward.0 > least {
                backward.0 -= 1;
                self.backward[at(backward.0 - 1)] = i32::MAX;
            } else {
                backward.0 += 1;
            }
            if backward.1 < most {
                backward.1 += 1;
                self.backward[at(backward.1 + 1)] = i32::MAX;
            } else {
                backward.1 -= 1;
            }
            for diagonal in (backward.0..=backward.1).rev().step_by(2) {
                let (below, above) = (self.backward[at(diagonal - 1)], self.backward[at(diagonal + 1)]);
                let from = if below < above { below } else { above - 1 };
                let mut to = from;
                while to > a.0 && to - diagonal > b.0 && self.same(to - 1, to - diagonal - 1) {
                    to -= 1;
                }
                snake |= from - to > SNAKE;
                self.backward[at(diagonal)] = to;
                let meets = !odd && (forward.0..=forward.1).contains(&diagonal);
                if meets && to <= self.forward[at(diagonal)] {
                    return Split { a: to, b: to - diagonal, shortest: (true, true) };
                }
            }
            if shortest {
                continue;
            }
            if snake && cost > PATIENCE {
                let promising = self
                    .promising_forward(stretch, forward, middle_forward, cost)
                    .or_else(|| self.promising_backward(stretch, backward, middle_backward, cost));
                if let Some(split) = promising {
                    return split;
                }
            }
            if cost >= self.limit {
                return self.furthest(stretch, forward, backward);
            }
        }
    }

    /// The position furthest from the start for its cost, if that is far and follows a long match.
    fn promising_forward(
        &self,
        stretch: Stretch,
        range: (i32, i32),
        middle: i32,
        cost: i32,
    ) -> Option<Split> {
        let Stretch { a, b, .. } = stretch;
        let (mut best, mut split) = (0, None);
        for diagonal in (range.0..=range.1).rev().step_by(2) {
            let i = self.forward[(self.zero + diagonal) as usize];
            let j = i - diagonal;
            let value = (i - a.0) + (j - b.0) - (diagonal - middle).abs();
            let inside = a.0 + SNAKE <= i && i < a.1 && b.0 + SNAKE <= j && j < b.1;
            if value > PROMISE * cost
                && value > best
                && inside
                && (1..=SNAKE).all(|k| self.same(i - k, j - k))
            {
                best = value;
                split = Some(Split { a: i, b: j, shortest: (true, false) });
            }
        }
        split
    }

    fn promising_backward(
        &self,
        stretch: Stretch,
        range: (i32, i32),
        middle: i32,
        cost: i32,
    ) -> Option<Split> {
        let Stretch { a, b, .. } = stretch;
        let (mut best, mut split) = (0, None);
        for diagonal in (range.0..=range.1).rev().step_by(2) {
            let i = self.backward[(self.zero + diagonal) as usize];
            let j = i - diagonal;
            let value = (a.1 - i) + (b.1 - j) - (diagonal - middle).abs();
            let inside = a.0 < i && i <= a.1 - SNAKE && b.0 < j && j <= b.1 - SNAKE;
            if value > PROMISE * cost && value > best && inside && (0..SNAKE).all(|k| self.same(i + k, j + k))
            {
                best = value;
                split = Some(Split { a: i, b: j, shortest: (false, true) });
            }
        }
        split
    }

    /// The position that has come furthest from either end.
    fn furthest(&self, stretch: Stretch, forward: (i32, i32), backward: (i32, i32)) -> Split {
        let Stretch { a, b, .. } = stretch;
        let (mut far, mut far_a) = (-1, -1);
        for diagonal in (forward.0..=forward.1).rev().step_by(2) {
            let i = self.forward[(self.zero + diagonal) as usize].min(a.1).min(b.1 + diagonal);
            if far < 2 * i - diagonal {
                (far, far_a) = (2 * i - diagonal, i);
            }
        }
        let (mut near, mut near_a) = (i32::MAX, i32::MAX);
        for diagonal in (backward.0..=backward.1).rev().step_by(2) {
            let i = self.backward[(self.zero + diagonal) as usize].max(a.0).max(b.0 + diagonal);
            if 2 * i - diagonal < near {
                (near, near_a) = (2 * i - diagonal, i);
            }
        }
        if a.1 + b.1 - near < far - (a.0 + b.0) {
            Split { a: far_a, b: far - far_a, shortest: (true, false) }
        } else {
            Split { a: near_a, b: near - near_a, shortest: (false, true) }
        }
    }
}

// --- after the search: changes slide ---------------------------------------------------------------------------------

/// A run of changed lines; empty between two unchanged ones.
#[derive(Clone, Copy)]
struct Group {
    start: isize,
    end: isize,
}

impl Group {
    fn first(side: &Side<'_>) -> Self {
        Self { start: 0, end: end_of(side, 0) }
    }

    fn next(self, side: &Side<'_>) -> Option<Self> {
        let start = self.end + 1;
        (self.end < side.lines.len() as isize).then(|| Self { start, end: end_of(side, start) })
    }

    fn previous(self, side: &Side<'_>) -> Option<Self> {
        let end = self.start - 1;
        (self.start > 0).then(|| Self { start: start_of(side, end), end })
    }

    /// One line down, taking in the changed lines that it then touches.
    fn down(&mut self, side: &mut Side<'_>) -> bool {
        let slides = self.end < side.lines.len() as isize
            && side.lines[self.start as usize] == side.lines[self.end as usize];
        if slides {
            side.change(self.start as usize, false);
            side.change(self.end as usize, true);
            *self = Self { start: self.start + 1, end: end_of(side, self.end + 1) };
        }
        slides
    }

    fn up(&mut self, side: &mut Side<'_>) -> bool {
        let slides =
            self.start > 0 && side.lines[self.start as usize - 1] == side.lines[self.end as usize - 1];
        if slides {
            side.change(self.start as usize - 1, true);
            side.change(self.end as usize - 1, false);
            *self = Self { start: start_of(side, self.start - 1), end: self.end - 1 };
        }
        slides
    }
}

fn end_of(side: &Side<'_>, mut end: isize) -> isize {
    while side.is_changed(end) {
        end += 1;
    }
    end
}

fn start_of(side: &Side<'_>, mut start: isize) -> isize {
    while side.is_changed(start - 1) {
        start -= 1;
    }
    start
}

/// Slide each group as far up and then down as it goes, joining those it meets; then back up to stand beside the last
/// group of the other side that it passed, if any.
fn slide(side: &mut Side<'_>, other: &mut Side<'_>) {
    let (mut group, mut beside) = (Group::first(side), Group::first(other));
    loop {
        if group.start != group.end {
            settle(side, other, &mut group, &mut beside);
        }
        let (Some(next), Some(next_beside)) = (group.next(side), beside.next(other)) else { return };
        (group, beside) = (next, next_beside);
    }
}

fn settle(side: &mut Side<'_>, other: &Side<'_>, group: &mut Group, beside: &mut Group) {
    let (mut highest, mut aligned);
    loop {
        let size = group.end - group.start;
        while group.up(side) {
            *beside = beside.previous(other).unwrap_or(*beside);
        }
        highest = group.end;
        aligned = beside.end > beside.start;
        while group.down(side) {
            *beside = beside.next(other).unwrap_or(*beside);
            aligned |= beside.end > beside.start;
        }
        if size == group.end - group.start {
            break;
        }
    }
    if group.end == highest || !aligned {
        return;
    }
    while beside.end == beside.start && group.up(side) {
        *beside = beside.previous(other).unwrap_or(*beside);
    }
}
