//! Compiles components off the serving threads, one at a time.

use std::sync::Arc;

use airhost_core::Revision;
use wasmtime::component::Component;

use crate::{
    background::lower_priority,
    compile_cache::{CompileCache, Key},
    engine::Engine,
    error::Error,
};

/// Work for the compiling thread.
type Work = Box<dyn FnOnce() + Send>;

/// Components that may wait for the compiling thread; a deploy of more waits in its caller.
const QUEUE: usize = 64;

/// Compiles and keeps what it compiled.
#[derive(Debug)]
pub(crate) struct Compiler {
    engine: Arc<Engine>,
    cache: Option<Arc<CompileCache>>,
    threads: Arc<rayon::ThreadPool>,
    work: tokio::sync::mpsc::Sender<Work>,
}

impl Compiler {
    pub(crate) fn new(engine: Arc<Engine>, cache: Option<CompileCache>) -> Result<Self, Error> {
        let (work, mut queue) = tokio::sync::mpsc::channel::<Work>(QUEUE);
        // Cranelift compiles functions side by side; its threads, too, let serving threads go
        // first.
        let threads = rayon::ThreadPoolBuilder::new()
            .thread_name(|number| format!("airhost-cranelift-{number}"))
            .start_handler(|_| lower_priority())
            .build()
            .map_err(|error| Error::Thread(std::io::Error::other(error)))?;
        std::thread::Builder::new()
            .name("airhost-compile".to_owned())
            .spawn(move || {
                lower_priority();
                while let Some(work) = queue.blocking_recv() {
                    work();
                }
            })
            .map_err(Error::Thread)?;
        Ok(Self { engine, cache: cache.map(Arc::new), threads: Arc::new(threads), work })
    }

    /// The compiled component, or the compiled snapshot of it, where the folder has it.
    pub(crate) async fn find(
        &self,
        digest: Revision,
        snapshot: bool,
    ) -> wasmtime::Result<Option<Component>> {
        let Some(cache) = self.cache.clone() else { return Ok(None) };
        let key = Key { digest, compatibility: self.engine.compatibility(), snapshot };
        let engine = self.engine.wasmtime().clone();
        self.off_thread(move || cache.load(&engine, key)).await
    }

    /// Compiles a component, and keeps the code under the digest that it was deployed with.
    pub(crate) async fn compile(
        &self,
        digest: Revision,
        wasm: bytes::Bytes,
        snapshot: bool,
    ) -> wasmtime::Result<Component> {
        let key = Key { digest, compatibility: self.engine.compatibility(), snapshot };
        let (engine, cache) = (self.engine.wasmtime().clone(), self.cache.clone());
        let threads = Arc::clone(&self.threads);
        self.off_thread(move || {
            let component = threads.install(|| Component::from_binary(&engine, &wasm))?;
            if let Some(cache) = &cache {
                let stored =
                    component.serialize().map_err(std::io::Error::other).and_then(|code| cache.store(key, &code));
                if let Err(error) = stored {
                    tracing::warn!(%error, "compiled code could not be kept and will be made again at the next start");
                }
            }
            Ok(component)
        })
        .await?
    }

    /// Runs work on the compiling thread.
    pub(crate) async fn off_thread<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> wasmtime::Result<R> {
        let (done, result) = tokio::sync::oneshot::channel();
        let work: Work = Box::new(move || {
            // The caller may have given up; then nobody wants the result.
            drop(done.send(work()));
        });
        self.work
            .send(work)
            .await
            .map_err(|_| wasmtime::format_err!("the compiling thread has ended"))?;
        result.await.map_err(|_| wasmtime::format_err!("compiling did not end"))
    }
}
