//! The ring of frames that a packet socket shares with the kernel (TPACKET_V2).
//!
//! Passes one frame at a time to a closure and returns its slot afterwards. The status word
//! of a slot says who owns it. The kernel fills a slot, then sets the word; we read the word
//! with acquire order, so we see the data. When done we reset it with release order, so the
//! kernel sees that. Kernel documentation: networking/packet_mmap.
#![expect(unsafe_code, reason = "memory that the kernel writes")]

use std::mem::{offset_of, size_of};
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{io, slice};

use libc::{sockaddr_ll, tpacket2_hdr};
use rustix::mm::{MapFlags, ProtFlags};

use super::packet_socket::setsockopt;

/// Bytes of a slot: the kernel's headers (80), then the saved bytes of a frame. Whole cache lines.
pub const FRAME_SIZE: usize = 704;

/// Maximum bytes of a frame in a slot.
pub const MAX_SNAPLEN: usize = FRAME_SIZE - DATA_OFFSET;

/// The largest offset in a slot at which the kernel puts the data of a SOCK_DGRAM frame.
const DATA_OFFSET: usize = 80;

/// Offset of the address in a slot: after the header, aligned to 16 bytes.
const ADDRESS_OFFSET: usize = size_of::<tpacket2_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);

/// Size of the kernel's blocks for the ring, in bytes: the largest page of known machines.
const BLOCK_SIZE: u32 = 65_536;

/// Whole slots in a block; the remainder is unused.
const FRAMES_PER_BLOCK: u32 = BLOCK_SIZE / FRAME_SIZE as u32;

/// A checked number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize {
    blocks: u32,
}

impl RingSize {
    /// Maximum number of slots of a ring: 44 MiB.
    pub const MAX_FRAMES: u32 = 65_536;

    /// A ring of at least this many slots, in whole blocks; `None` for 0 and above [`Self::MAX_FRAMES`].
    #[must_use]
    pub fn with_frames(frames: u32) -> Option<Self> {
        if frames == 0 || frames > Self::MAX_FRAMES {
            return None;
        }
        let blocks = frames.div_ceil(FRAMES_PER_BLOCK);
        Some(Self { blocks })
    }

    /// Number of slots in the ring.
    #[must_use]
    pub const fn frames(self) -> u32 {
        self.blocks * FRAMES_PER_BLOCK
    }

    /// Size in bytes; all of it is resident memory.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.bytes_u32() as usize
    }

    const fn bytes_u32(self) -> u32 {
        self.blocks * BLOCK_SIZE
    }
}

/// A captured frame; valid while we own its slot.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The frame type of `bytes`, in host byte order.
    pub ethertype: u16,
    /// `PACKET_HOST`, `PACKET_OUTGOING` and so on.
    pub packet_type: u8,
    /// Index of the interface.
    pub interface: u32,
    /// The outermost VLAN tag, if any: the kernel strips it from the data.
    pub vlan: Option<Vlan>,
    /// The frame from the network header on, up to the filter's limit.
    pub bytes: &'a [u8],
    /// Whether the frame was longer.
    pub truncated: bool,
}

/// A VLAN tag taken off a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Priority and VLAN id.
    pub tci: u16,
    /// The tag's type; 0 if the kernel does not report it.
    pub tpid: u16,
}

/// The ring, mapped into memory.
#[derive(Debug)]
pub struct RxRing {
    base: NonNull<u8>,
    size: RingSize,
    next: u32,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for RxRing {}

impl RxRing {
    /// Makes a ring on a packet socket that has none, and maps it.
    pub(super) fn new(socket: BorrowedFd<'_>, size: RingSize) -> io::Result<Self> {
        let version: libc::c_int = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        setsockopt(socket, libc::SOL_PACKET, libc::PACKET_VERSION, version)?;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK_SIZE,
            tp_block_nr: size.blocks,
            tp_frame_size: FRAME_SIZE as u32,
            tp_frame_nr: size.frames(),
        };
        setsockopt(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, request)?;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing of ours lies there.
        let base = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                size.bytes(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                socket,
                0,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            base,
            size,
            next: 0,
        })
    }

    /// Passes the next frame, if there is one, to `each` and returns its slot to the kernel,
    /// even if `each` panics. `None`: the kernel has put nothing there yet.
    pub fn next<T>(&mut self, each: impl FnOnce(Frame<'_>) -> T) -> Option<T> {
        let (block, index) = (self.next / FRAMES_PER_BLOCK, self.next % FRAMES_PER_BLOCK);
        let offset = block as usize * BLOCK_SIZE as usize + index as usize * FRAME_SIZE;
        debug_assert!(offset + FRAME_SIZE <= self.size.bytes());
        // SAFETY: `next` is below the number of slots, so its block is one of the mapping's, which lives as long as
        // `self`, and the slot lies within the block.
        let slot = unsafe { self.base.add(offset) };
        // SAFETY: the status is an aligned u32 at the start of a slot; kernel and process change it only as a whole.
        let status = unsafe {
            AtomicU32::from_ptr(
                slot.as_ptr()
                    .add(offset_of!(tpacket2_hdr, tp_status))
                    .cast(),
            )
        };
        let state = status.load(Ordering::Acquire);
        if state & libc::TP_STATUS_USER == 0 {
            return None;
        }
        self.next = (self.next + 1) % self.size.frames();
        let _guard = SlotGuard(status);
        // SAFETY: the status says that the slot is ours, and `_back`, dropped after the call of `each`, keeps it so.
        Some(each(unsafe { read_frame(slot, state) }))
    }
}

impl Drop for RxRing {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `of`, with its length; nothing borrowed from it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size.bytes()) };
    }
}

/// Returns a slot to the kernel when dropped.
struct SlotGuard<'a>(&'a AtomicU32);

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        self.0.store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

/// Reads a slot.
///
/// # Safety
/// `slot` points to a slot of `FRAME_SIZE` bytes, aligned to 16, filled by the kernel, and ours for the lifetime `'a`.
unsafe fn read_frame<'a>(slot: NonNull<u8>, state: u32) -> Frame<'a> {
    // SAFETY: the slot begins with this header, aligned; all its bit patterns are valid.
    let header = unsafe { slot.cast::<tpacket2_hdr>().read() };
    // SAFETY: the address follows it within the slot, aligned to 16; all its bit patterns are valid.
    let address = unsafe { slot.add(ADDRESS_OFFSET).cast::<sockaddr_ll>().read() };
    let start = usize::from(header.tp_net);
    let snaplen = header.tp_snaplen as usize;
    // The kernel ensures this; the length is checked again before memory is read by it.
    let fits = start
        .checked_add(snaplen)
        .is_some_and(|end| end <= FRAME_SIZE);
    let bytes = if fits {
        // SAFETY: within the slot, initialised by the kernel, and not written while the slot is ours.
        unsafe { slice::from_raw_parts(slot.as_ptr().add(start), snaplen) }
    } else {
        &[]
    };
    let vlan = (state & libc::TP_STATUS_VLAN_VALID != 0).then_some(Vlan {
        tci: header.tp_vlan_tci,
        tpid: if state & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
            0
        } else {
            header.tp_vlan_tpid
        },
    });
    Frame {
        ethertype: u16::from_be(address.sll_protocol),
        packet_type: address.sll_pkttype,
        interface: address.sll_ifindex.cast_unsigned(),
        vlan,
        bytes,
        truncated: header.tp_len > header.tp_snaplen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes_are_whole_blocks_and_bounded() {
        assert_eq!(RingSize::with_frames(0), None);
        assert_eq!(RingSize::with_frames(RingSize::MAX_FRAMES + 1), None);
        assert_eq!(RingSize::with_frames(u32::MAX), None);
        for slots in [1, 63, 64, 65, 2048, RingSize::MAX_FRAMES] {
            let size = RingSize::with_frames(slots).unwrap();
            assert!(size.frames() >= slots);
            assert!(size.bytes() < (size.frames() as usize + 1) * (FRAME_SIZE + 8));
            assert_eq!(size.bytes() % BLOCK_SIZE as usize, 0);
        }
    }

    #[test]
    fn a_slot_has_room_for_the_longest_packet_kept() {
        assert!(ADDRESS_OFFSET + size_of::<sockaddr_ll>() <= DATA_OFFSET);
    }
}
