//! What was run, counted in lines of the processor's caches. An instruction counts for the
//! line that it begins in. Functions of the same code are one, under any of their names.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::program::{LINE, Program};
use crate::who::Who;

/// Functions that are named.
const ROWS: usize = 25;
/// Characters of a function's name; types make some much longer.
const NAME: usize = 100;

type Lines = BTreeSet<u64>;

/// What one thread ran for a knock.
pub(crate) struct Walk {
    name: &'static str,
    instructions: usize,
    /// In the program.
    lines: Lines,
    on_the_way: Lines,
    /// In libc and the vdso.
    elsewhere: Lines,
    /// Lines outside of the way, by function.
    aside: BTreeMap<String, Lines>,
}

impl Walk {
    pub(crate) fn of(who: &Who, steps: &[u64], program: &Program) -> Result<Self, String> {
        let loaded = program.loaded_by(who)?;
        let mut walk = Self {
            name: who.name,
            instructions: steps.len(),
            lines: Lines::new(),
            on_the_way: Lines::new(),
            elsewhere: Lines::new(),
            aside: BTreeMap::new(),
        };
        for step in steps {
            let Some(address) = loaded.address(*step) else {
                walk.elsewhere.insert(step / LINE);
                continue;
            };
            let line = address / LINE;
            walk.lines.insert(line);
            if program.way.contains(&address) {
                walk.on_the_way.insert(line);
            } else {
                let name = program.name_of(address);
                walk.aside.entry(name).or_default().insert(line);
            }
        }
        Ok(walk)
    }
}

pub(crate) fn print(walks: &[Walk], program: &Program) {
    let row = |title: &str, of: fn(&Walk) -> String| {
        let cells: String = walks
            .iter()
            .map(|walk| format!("{:>10}", of(walk)))
            .collect();
        println!("{title:<40}{cells}");
    };
    row("", |walk| walk.name.to_owned());
    row("instructions", |walk| walk.instructions.to_string());
    row("lines of the program's code", |walk| {
        walk.lines.len().to_string()
    });
    row("  of them in .text.way", |walk| {
        walk.on_the_way.len().to_string()
    });
    row("lines of other files (libc, vdso)", |walk| {
        walk.elsewhere.len().to_string()
    });
    let size = program.way.end - program.way.start;
    println!(
        ".text.way has {size} bytes, {} lines\n",
        size.div_ceil(LINE)
    );
    print_aside(walks);
    if program.is_stripped() {
        println!(
            "\nspad is stripped, so its functions have no names; for names build it by\n  CARGO_PROFILE_RELEASE_STRIP=none cargo build --release -p spad"
        );
    }
}

/// The functions outside of the way, most lines first.
fn print_aside(walks: &[Walk]) {
    let names: BTreeSet<&String> = walks.iter().flat_map(|walk| walk.aside.keys()).collect();
    let lines = |walk: &Walk, name: &String| walk.aside.get(name).map_or(0, BTreeSet::len);
    let most = |name: &&String| walks.iter().map(|walk| lines(walk, name)).max();
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|name| Reverse(most(name)));
    let heads: String = walks
        .iter()
        .map(|walk| format!("{:>8}", walk.name))
        .collect();
    println!("{heads}  lines outside of it, by function");
    for name in names.iter().take(ROWS) {
        let cells: String = walks
            .iter()
            .map(|walk| format!("{:>8}", lines(walk, name)))
            .collect();
        println!("{cells}  {}", name.chars().take(NAME).collect::<String>());
    }
    if let more @ 1.. = names.len().saturating_sub(ROWS) {
        println!("and {more} more");
    }
}
