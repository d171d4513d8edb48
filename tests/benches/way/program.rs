//! The program as the linker laid it out: its section `.text.way` and its functions, read
//! by the programs of binutils, which come with every compiler.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::who::Who;

/// Bytes that a processor caches together.
pub(crate) const LINE: u64 = 64;

/// What the file holds.
pub(crate) struct Program {
    path: PathBuf,
    /// `.text.way`.
    pub(crate) way: Range<u64>,
    /// Where `.text` begins, in the program and in its file.
    text: (u64, u64),
    /// By address; none in a stripped program.
    functions: Vec<(Range<u64>, String)>,
}

/// Where a process has it.
pub(crate) struct Loaded {
    span: Range<u64>,
    moved: u64,
}

impl Program {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let mut program = Self {
            path: path.to_owned(),
            way: 0..0,
            text: (0, 0),
            functions: Vec::new(),
        };
        for line in run("readelf", &["-SW"], path)?.lines() {
            // [15] .text.way PROGBITS ADDRESS OFFSET SIZE …
            let line = line.split_once(']').map_or("", |(_, fields)| fields);
            let fields: Vec<_> = line.split_whitespace().collect();
            let [name, _, address, offset, size, ..] = fields[..] else {
                continue;
            };
            match (name, hex(address), hex(offset), hex(size)) {
                (".text.way", Some(start), _, Some(size)) => program.way = start..start + size,
                (".text", Some(start), Some(offset), _) => program.text = (start, offset),
                _ => {}
            }
        }
        if program.way.is_empty() {
            return Err(format!(
                "{} has no section .text.way\nhelp: a release build on Linux without SPAD_PLAIN_LINK has it",
                path.display()
            ));
        }
        for line in run("nm", &["-SC"], path)?.lines() {
            // ADDRESS SIZE KIND NAME
            let mut fields = line.splitn(4, ' ');
            let start = fields.next().and_then(hex);
            let size = fields.next().and_then(hex);
            let kind = fields.next().unwrap_or_default();
            let name = fields.next();
            if let (Some(start), Some(size), "t" | "T" | "w" | "W", Some(name)) =
                (start, size, kind, name)
            {
                let span = start..start + size;
                program.functions.push((span, name.to_owned()));
            }
        }
        program.functions.sort_by_key(|(span, _)| span.start);
        Ok(program)
    }

    pub(crate) fn is_stripped(&self) -> bool {
        self.functions.is_empty()
    }

    /// The function at this address, or else its page.
    pub(crate) fn name_of(&self, address: u64) -> String {
        let behind = self
            .functions
            .partition_point(|(span, _)| span.start <= address);
        let found = behind
            .checked_sub(1)
            .and_then(|last| self.functions.get(last));
        match found {
            Some((span, name)) if span.contains(&address) => name.clone(),
            _ => format!("{:#x}…, no name", address & !0xfff),
        }
    }

    /// Where this process has it.
    pub(crate) fn loaded_by(&self, who: &Who) -> Result<Loaded, String> {
        let maps = std::fs::read_to_string(who.proc("maps"))
            .map_err(|error| format!("cannot read the {}'s maps: {error}", who.name))?;
        let path = self.path.display().to_string();
        let mut span: Option<Range<u64>> = None;
        let mut moved = None;
        for line in maps.lines().filter(|line| line.ends_with(&path)) {
            // START-END RIGHTS OFFSET …
            let mut fields = line.split_whitespace();
            let ends = fields.next().and_then(|ends| ends.split_once('-'));
            let ends = ends.and_then(|(start, end)| Some(hex(start)?..hex(end)?));
            let (Some(ends), Some(offset)) = (ends, fields.nth(1).and_then(hex)) else {
                continue;
            };
            let (address, text) = self.text;
            if (offset..offset + (ends.end - ends.start)).contains(&text) {
                moved = Some((ends.start + (text - offset)).wrapping_sub(address));
            }
            span = Some(span.map_or(ends.start, |span| span.start)..ends.end);
        }
        match (span, moved) {
            (Some(span), Some(moved)) => Ok(Loaded { span, moved }),
            _ => Err(format!("the {} does not run {path}", who.name)),
        }
    }
}

impl Loaded {
    /// The address in the program's file, unless it is another file's.
    pub(crate) fn address(&self, there: u64) -> Option<u64> {
        self.span
            .contains(&there)
            .then(|| there.wrapping_sub(self.moved))
    }
}

fn run(program: &str, options: &[&str], path: &Path) -> Result<String, String> {
    let output = Command::new(program).args(options).arg(path).output();
    let output = output.map_err(|error| {
        format!("cannot start {program}: {error}\nhelp: it comes with binutils")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} cannot read {}: {said}", path.display()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}
