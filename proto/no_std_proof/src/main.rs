//! Seals a packet and opens it, with a panic handler and an allocator of its
//! own, which shows that nothing is allocated before a packet is authentic. If spa-keys or spa-proto used the standard library, that would bring
//! a second panic handler, and this would not compile.
#![no_std]
#![no_main]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::sync::atomic::{AtomicUsize, Ordering};

use spa_keys::{ClientSecret, HeadKeys, KeyId, PacketKeys, ServerSecret};
use spa_proto::{Open, Randomness, Record, Request, Timestamp, identify, seal};

struct AcceptAll;

impl Record for AcceptAll {
    type Refusal = ();

    fn record(&mut self, _: KeyId, _: &[u8; 24], _: Timestamp) -> Result<(), ()> {
        Ok(())
    }
}

fn round_trip() -> Option<bool> {
    let server = ServerSecret::from_bytes([1; 32]);
    let client = ClientSecret::from_bytes([2; 32]);
    let (server_public, client_public) = (server.public(), client.public());
    let head = HeadKeys::new(&server_public);
    let id = KeyId::for_client(&server_public, &client_public);
    let pair = client.pair_with(&server_public).ok()?;
    let keys = PacketKeys::from_pair(&server_public, &pair, &client_public, None);
    let request = Request::Open(Open::default());
    let now = Timestamp::from_micros(1);
    let randomness = Randomness {
        nonce: [3; 24],
        length: 4,
    };
    let packet = seal(&head, id, &keys, &request, now, &randomness).ok()?;

    let before = ALLOCATOR.used.load(Ordering::Relaxed);
    let forged = identify(&head, &[0; 160]).is_err();
    let authentic = identify(&head, &packet).ok()?.authenticate(&keys).ok()?;
    let allocated = ALLOCATOR.used.load(Ordering::Relaxed) != before;
    let opened = authentic.record(&mut AcceptAll).ok()?.open(&keys).ok()?;
    let text = ClientSecret::from_text(&client.to_text()).ok()?;
    Some(opened.request() == &request && text == client && forged && !allocated)
}

/// 0 where everything came back as it went in.
// SAFETY: the C start code calls the one function of this name, with arguments
// that this one does not read.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    c_int::from(round_trip() != Some(true))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

const HEAP: usize = 64 * 1024;

/// Gives memory from a block, and takes none back.
struct Bump {
    heap: UnsafeCell<[u8; HEAP]>,
    used: AtomicUsize,
}

// SAFETY: `used` hands each byte of the heap out once, whoever asks.
unsafe impl Sync for Bump {}

// SAFETY: what is handed out is aligned, as large as asked for, within the
// heap, and never handed out again.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base: *mut u8 = self.heap.get().cast();
        let size = layout.size() + layout.align();
        let start = self.used.fetch_add(size, Ordering::Relaxed);
        if start + size > HEAP {
            return core::ptr::null_mut();
        }
        // SAFETY: within the heap, by the check above.
        let place = unsafe { base.add(start) };
        // SAFETY: at most `align - 1` bytes further, which were reserved too.
        unsafe { place.add(place.align_offset(layout.align())) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Bump = Bump {
    heap: UnsafeCell::new([0; HEAP]),
    used: AtomicUsize::new(0),
};
