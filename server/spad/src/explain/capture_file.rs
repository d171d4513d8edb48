//! A recording, pcap or pcapng → its frames with their times.
//!
//! Holds one block of the file at a time, at most [`MAX_BLOCK`] bytes of it. Whoever made
//! the file may be hostile.

use std::io::Read;

use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use spa_proto::Timestamp;

/// The longest block that is read, in bytes: four times what tcpdump records of a packet.
const MAX_BLOCK: usize = 1 << 20;

/// Interfaces of one section; a file with more is refused.
const MAX_INTERFACES: usize = 4096;

/// One recorded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedFrame<'a> {
    /// Its number in the recording, from 1 on.
    pub number: u64,
    /// When it was recorded; none where the file does not say.
    pub at: Option<Timestamp>,
    /// The type of its link layer: the file formats' common list.
    pub link: i32,
    /// Its bytes, from the link layer's header on.
    pub bytes: &'a [u8],
}

/// Why a recording cannot be read on, and how far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {problem}")]
pub struct CaptureFileError {
    /// How many bytes before it were understood.
    pub offset: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Neither format.
    #[error("this is neither a pcap nor a pcapng file; tcpdump -w makes one")]
    UnknownFormat,
    /// It ends within a block.
    #[error("the file ends within a packet: the rest is missing")]
    TruncatedFile,
    /// A block that no program makes.
    #[error("a block of more than {MAX_BLOCK} bytes, which no packet has: the file is damaged")]
    TooLong,
    /// Anything else.
    #[error("the file is damaged here")]
    Damaged,
    /// More interfaces than any machine has.
    #[error("more than {MAX_INTERFACES} interfaces: the file is damaged")]
    TooManyInterfaces,
    /// The system did not read on.
    #[error("the file cannot be read on")]
    Unreadable,
}

/// How one interface's packets are recorded in a pcapng file.
struct Interface {
    link: i32,
    /// Units of time a second.
    resolution: u64,
    /// Seconds.
    offset: i64,
}

/// What blocks before it say of a packet.
#[derive(Default)]
struct Context {
    number: u64,
    /// Of a pcap file: link, and whether its fractions are nanoseconds.
    legacy_header: Option<(i32, bool)>,
    /// Of a pcapng section.
    interfaces: Vec<Interface>,
}

/// What comes after a look at the buffer.
enum Next {
    Consume(usize),
    Refill,
    End,
    Fail(Problem),
}

/// Gives each frame of the recording.
///
/// # Errors
/// Where and why it cannot be read on; the frames before were given.
pub fn for_each_frame<R: Read + Send>(
    input: R,
    mut each: impl FnMut(CapturedFrame<'_>),
) -> Result<(), CaptureFileError> {
    let at = |offset: usize, problem| CaptureFileError {
        offset: u64::try_from(offset).unwrap_or(u64::MAX),
        problem,
    };
    let mut reader = create_reader(MAX_BLOCK, input).map_err(|error| {
        let problem = match error {
            PcapError::ReadError => Problem::Unreadable,
            _ => Problem::UnknownFormat,
        };
        at(0, problem)
    })?;
    let mut context = Context::default();
    loop {
        let next = match reader.next() {
            Ok((0, _)) => Next::Fail(Problem::Damaged),
            Ok((length, block)) => match context.handle_block(&block, &mut each) {
                Ok(()) => Next::Consume(length),
                Err(problem) => Next::Fail(problem),
            },
            Err(PcapError::Eof) => Next::End,
            Err(PcapError::Incomplete(_)) => Next::Refill,
            Err(PcapError::UnexpectedEof) => Next::Fail(Problem::TruncatedFile),
            Err(PcapError::BufferTooSmall) => Next::Fail(Problem::TooLong),
            Err(PcapError::ReadError) => Next::Fail(Problem::Unreadable),
            Err(_) => Next::Fail(Problem::Damaged),
        };
        match next {
            Next::Consume(length) => reader.consume(length),
            Next::Refill => {
                let before = reader.data().len();
                let refilled = reader.refill().is_ok();
                let offset = reader.consumed();
                if !refilled {
                    return Err(at(offset, Problem::Unreadable));
                }
                // No room for more, and what is there is no whole block.
                if reader.data().len() == before && !reader.reader_exhausted() {
                    return Err(at(offset, Problem::TooLong));
                }
            }
            Next::End => return Ok(()),
            Next::Fail(problem) => return Err(at(reader.consumed(), problem)),
        }
    }
}

impl Context {
    fn handle_block(
        &mut self,
        block: &PcapBlockOwned<'_>,
        each: &mut impl FnMut(CapturedFrame<'_>),
    ) -> Result<(), Problem> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.legacy_header = Some((header.network.0, header.is_nanosecond_precision()));
            }
            PcapBlockOwned::Legacy(frame) => {
                let (link, nanoseconds) = self.legacy_header.ok_or(Problem::Damaged)?;
                let fraction = if nanoseconds {
                    frame.ts_usec / 1000
                } else {
                    frame.ts_usec
                };
                let micros = u64::from(frame.ts_sec)
                    .saturating_mul(1_000_000)
                    .saturating_add(u64::from(fraction));
                each(self.frame(Some(Timestamp::from_micros(micros)), link, frame.data));
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                if self.interfaces.len() >= MAX_INTERFACES {
                    return Err(Problem::TooManyInterfaces);
                }
                let resolution = interface.ts_resolution().filter(|units| *units > 0);
                self.interfaces.push(Interface {
                    link: interface.linktype.0,
                    resolution: resolution.ok_or(Problem::Damaged)?,
                    offset: interface.ts_offset(),
                });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let index = usize::try_from(packet.if_id).map_err(|_| Problem::Damaged)?;
                let interface = self.interfaces.get(index).ok_or(Problem::Damaged)?;
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let (at, link) = (Some(interface.time(units)), interface.link);
                let data = without_padding(packet.data, packet.caplen)?;
                each(self.frame(at, link, data));
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let link = self.interfaces.first().ok_or(Problem::Damaged)?.link;
                // Padding may follow; the IP length says where the packet ends.
                each(self.frame(None, link, packet.data));
            }
            // Statistics, names, comments.
            PcapBlockOwned::NG(_) => {}
        }
        Ok(())
    }

    const fn frame<'a>(
        &mut self,
        at: Option<Timestamp>,
        link: i32,
        bytes: &'a [u8],
    ) -> CapturedFrame<'a> {
        self.number = self.number.saturating_add(1);
        CapturedFrame {
            number: self.number,
            at,
            link,
            bytes,
        }
    }
}

/// The recorded bytes without padding.
fn without_padding(data: &[u8], length: u32) -> Result<&[u8], Problem> {
    let length = usize::try_from(length).map_err(|_| Problem::Damaged)?;
    data.get(..length).ok_or(Problem::Damaged)
}

impl Interface {
    fn time(&self, units: u64) -> Timestamp {
        let micros = u128::from(units)
            .saturating_mul(1_000_000)
            .checked_div(u128::from(self.resolution))
            .unwrap_or(0);
        let micros = i128::try_from(micros).unwrap_or(i128::MAX);
        let offset = i128::from(self.offset).saturating_mul(1_000_000);
        let sum = micros.saturating_add(offset).max(0);
        Timestamp::from_micros(u64::try_from(sum).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pcap(nanoseconds: bool, frames: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let magic: u32 = if nanoseconds {
            0xa1b2_3c4d
        } else {
            0xa1b2_c3d4
        };
        let mut file = magic.to_le_bytes().to_vec();
        for number in [0x0004_0002, 0, 0, 65_535, 1_u32] {
            file.extend(number.to_le_bytes());
        }
        for (seconds, fraction, bytes) in frames {
            let length = u32::try_from(bytes.len()).unwrap();
            for number in [*seconds, *fraction, length, length] {
                file.extend(number.to_le_bytes());
            }
            file.extend(*bytes);
        }
        file
    }

    type Frame = (u64, Option<u64>, i32, Vec<u8>);

    fn read(file: &[u8]) -> (Vec<Frame>, Result<(), CaptureFileError>) {
        let mut all = Vec::new();
        let result = for_each_frame(file, |it| {
            let at = it.at.map(Timestamp::as_micros);
            all.push((it.number, at, it.link, it.bytes.to_vec()));
        });
        (all, result)
    }

    #[test]
    fn frames_come_with_number_time_link_and_bytes() {
        for (nanoseconds, fraction) in [(false, 250_000), (true, 250_000_999)] {
            let file = pcap(nanoseconds, &[(7, fraction, b"one"), (9, 1000, b"")]);
            let (all, result) = read(&file);
            assert_eq!(result, Ok(()));
            assert_eq!(all[0], (1, Some(7_250_000), 1, b"one".to_vec()));
            assert_eq!((all[1].0, &all[1].3), (2, &Vec::new()));
        }
    }

    #[test]
    fn pcapng_has_its_own_links_and_resolutions() {
        let block = |kind: u32, body: &[u8]| {
            let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
            [&kind.to_le_bytes(), &length[..], body, &length].concat()
        };
        let section = [
            &0x1a2b_3c4d_u32.to_le_bytes()[..],
            &[1, 0, 0, 0],
            &[0xff; 8],
        ]
        .concat();
        // Raw IP, nanoseconds.
        let interface = [101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        let nanos = 7_250_000_999_u64;
        let halves = [(nanos >> 32) as u32, nanos as u32].map(u32::to_le_bytes);
        let head = [&[0; 4][..], &halves.concat(), &[3, 0, 0, 0, 3, 0, 0, 0]].concat();
        let packet = [&head[..], b"one\0"].concat();
        let file = [
            block(0x0a0d_0d0a, &section),
            block(1, &interface),
            block(6, &packet),
        ]
        .concat();
        assert_eq!(
            read(&file),
            (vec![(1, Some(7_250_000), 101, b"one".to_vec())], Ok(()))
        );
        let without = [block(0x0a0d_0d0a, &section), block(6, &packet)].concat();
        assert_eq!(read(&without).1.unwrap_err().problem, Problem::Damaged);
    }

    #[test]
    fn what_is_no_recording_or_a_cut_one_says_where() {
        let problem = |file: &[u8]| read(file).1.unwrap_err();
        for file in [&b""[..], b"hello", &[0; 100]] {
            assert_eq!(problem(file).problem, Problem::UnknownFormat);
        }
        let mut file = pcap(false, &[(7, 0, b"one"), (8, 0, b"two")]);
        file.pop();
        let error = problem(&file);
        assert_eq!(
            (error.problem, error.offset),
            (Problem::TruncatedFile, 24 + 16 + 3)
        );
        assert_eq!(read(&file).0.len(), 1);
        let mut file = pcap(false, &[(7, 0, b"one")]);
        file[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(
            problem(&file).problem,
            Problem::TooLong | Problem::TruncatedFile | Problem::Damaged
        ));
    }
}
