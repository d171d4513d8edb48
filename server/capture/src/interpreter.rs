//! Tests only: runs a classic BPF program as the kernel does.
//! Also included by `server/spad/tests/it/capture`, which compares it with the kernel.

use spad_sys::bpf::Instruction;

/// What the kernel knows of a frame beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ancillary {
    pub(crate) packet_type: u8,
    pub(crate) ethertype: u16,
}

const PACKET_TYPE: u32 = 0xffff_f004;
const FRAME_TYPE: u32 = 0xffff_f000;

/// Bytes kept; 0 is dropped. Loads beyond the bytes drop, as in the kernel.
pub(crate) fn run(program: &[Instruction], ancillary: Ancillary, bytes: &[u8]) -> u32 {
    execute(program, ancillary, bytes).unwrap_or(0)
}

fn execute(program: &[Instruction], ancillary: Ancillary, bytes: &[u8]) -> Option<u32> {
    let (mut a, mut x, mut pc) = (0_u32, 0_u32, 0_usize);
    let load = |offset: u32, size: usize| -> Option<u32> {
        match offset {
            PACKET_TYPE => Some(u32::from(ancillary.packet_type)),
            FRAME_TYPE => Some(u32::from(ancillary.ethertype)),
            _ => {
                let start = usize::try_from(offset).ok()?;
                let bytes = bytes.get(start..start + size)?;
                Some(
                    bytes
                        .iter()
                        .fold(0, |sum, &byte| sum << 8 | u32::from(byte)),
                )
            }
        }
    };
    loop {
        let Instruction { code, jt, jf, k } = program[pc];
        pc += 1;
        let condition = match code {
            0x20 => {
                a = load(k, 4)?;
                continue;
            }
            0x28 => {
                a = load(k, 2)?;
                continue;
            }
            0x30 => {
                a = load(k, 1)?;
                continue;
            }
            0x48 => {
                a = load(x + k, 2)?;
                continue;
            }
            0x50 => {
                a = load(x + k, 1)?;
                continue;
            }
            0x54 => {
                a &= k;
                continue;
            }
            0x74 => {
                a >>= k;
                continue;
            }
            0x0c => {
                a = a.wrapping_add(x);
                continue;
            }
            0x1c => {
                a = a.wrapping_sub(x);
                continue;
            }
            0x07 => {
                x = a;
                continue;
            }
            0xb1 => {
                x = 4 * (load(k, 1)? & 0xf);
                continue;
            }
            0x05 => {
                pc += k as usize;
                continue;
            }
            0x06 => return Some(k),
            0x15 => a == k,
            0x25 => a > k,
            0x35 => a >= k,
            0x45 => a & k != 0,
            other => unreachable!("operation {other:#x}"),
        };
        pc += usize::from(if condition { jt } else { jf });
    }
}
