//! Threads of the build whose memory is shared: workers that instantiate the same module with the same memory, and take part in what
//! [rayon] shares out. The package starts them (`pkg/src/team.ts`), because only scripts can start workers.

use std::mem;
use std::sync::{Condvar, Mutex, PoisonError};

use rayon::{ThreadBuilder, ThreadPoolBuilder};
use wasm_bindgen::prelude::*;

use super::argument;

/// Threads that no worker has become yet.
static WAITING: Mutex<Vec<ThreadBuilder>> = Mutex::new(Vec::new());
static MORE: Condvar = Condvar::new();

/// Makes the calling worker the first of so many threads. It does the work of those that are not there yet, so none is waited for.
#[wasm_bindgen]
pub fn lead(threads: usize) -> Result<(), JsValue> {
    let wait = |thread| {
        WAITING.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        MORE.notify_one();
        Ok(())
    };
    let pool = ThreadPoolBuilder::new().num_threads(threads).use_current_thread().spawn_handler(wait).build();
    // Threads would end with it. They last as long as their workers.
    pool.map(mem::forget).map_err(argument)
}

/// Makes the calling worker one of the other threads, for good: it does not return.
#[wasm_bindgen]
pub fn follow() {
    let waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let waiting = MORE.wait_while(waiting, |waiting| waiting.is_empty());
    let thread = waiting.unwrap_or_else(PoisonError::into_inner).pop();
    if let Some(thread) = thread {
        thread.run();
    }
}
