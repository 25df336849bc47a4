//! Work that is of no use, on every processor: what a virtual machine's own timers and neighbours
//! cost others while no processor rests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};

use super::until_stopped;
use crate::process::Ready;

pub(super) async fn compute() -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..std::thread::available_parallelism()?.get())
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(0);
                }
            })
        })
        .collect();
    until_stopped(&Ready::new()).await?;
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().ok().context("a thread panicked")?;
    }
    Ok(())
}
