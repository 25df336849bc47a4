//! Start-up work done once: `init` runs when a revision is loaded, and what it leaves in memory
//! becomes the component that instances are made of.

use std::sync::Arc;

use wasmtime::component::{Component, Linker};
use wasmtime_wizer::{WasmtimeWizerComponent, Wizer};

use crate::{
    bindings::lifecycle,
    glue::from_guest,
    instance,
    service::Service,
    state::{CallState, State},
};

/// Whether instances start from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Snapshot {
    /// The component has no `init`.
    NotWanted,
    /// `init` ran; instances start with what it made.
    Taken,
    /// The component cannot be snapshotted; every instance runs without what `init` would make.
    Impossible {
        /// Why.
        reason: String,
    },
}

/// Interfaces that a component can use while it is initialised. Everything else would be frozen
/// into every instance.
const ALLOWED: &[&str] = &[
    "pyairtable:types/",
    "pyairtable:context/log@",
    "wasi:cli/environment@",
    "wasi:cli/exit@",
    "wasi:cli/stdin@",
    "wasi:cli/stdout@",
    "wasi:cli/stderr@",
    "wasi:cli/terminal-",
    "wasi:io/",
    "wasi:random/insecure-seed@",
    "wasi:filesystem/",
];

/// The component after its `init`, or why there is none.
pub(crate) enum Outcome {
    Taken(Vec<u8>),
    Impossible(String),
    /// `init` failed: the revision is refused.
    Failed(String),
}

/// Runs `init` and takes the snapshot.
pub(crate) async fn take(
    engine: &wasmtime::Engine,
    base: &Linker<State>,
    service: &Arc<Service>,
    wasm: &[u8],
) -> Outcome {
    let mut wizer = Wizer::new();
    // `init` stays exported: the contract's interface is whole, and calling it again is the
    // guest's own affair.
    wizer.keep_init_func(true);
    let (context, instrumented) = match wizer.instrument_component(wasm) {
        Ok(instrumented) => instrumented,
        Err(error) => return Outcome::Impossible(format!("{error:#}")),
    };
    match initialise(engine, base, service, &instrumented).await {
        Ok(Ok((mut store, instance))) => {
            let mut access = WasmtimeWizerComponent { store: &mut store, instance };
            match wizer.snapshot_component(&context, &mut access).await {
                Ok(wasm) => Outcome::Taken(wasm),
                Err(error) => Outcome::Impossible(format!("{error:#}")),
            }
        }
        Ok(Err(reason)) => Outcome::Failed(reason),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

type Initialised = (wasmtime::Store<State>, wasmtime::component::Instance);

async fn initialise(
    engine: &wasmtime::Engine,
    base: &Linker<State>,
    service: &Arc<Service>,
    instrumented: &[u8],
) -> wasmtime::Result<Result<Initialised, String>> {
    let component = Component::from_binary(engine, instrumented)?;
    let linker = crate::linker::for_init(base, &component, ALLOWED)?;
    let pre = linker.instantiate_pre(&component)?;
    let indices = lifecycle::ExportsIndices::new(&pre)?;
    let mut store = instance::store(engine, service, CallState::idle());
    let instance = pre.instantiate_async(&mut store).await?;
    let exports = indices.load(&mut store, &instance)?;
    if let Err(error) = exports.pyairtable_service_lifecycle().call_init(&mut store).await? {
        let error = from_guest(error);
        return Ok(Err(format!("`init` answered {error}")));
    }
    if store.data().open > 0 {
        return Ok(
            Err("a handle is alive after `init`; close it before `init` returns".to_owned()),
        );
    }
    Ok(Ok((store, instance)))
}
