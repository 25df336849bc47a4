//! What a component's imports are linked to.
//!
//! One linker holds everything this host implements. What a component imports of the contracts
//! beyond that answers `import.unsupported`, typed, at the call; what is unknown altogether is
//! refused before it gets here, and if it gets here, with a sentence.

use airhost_core::{Error as CallError, codes};
use wasmtime::{
    Engine,
    component::{
        Component, HasSelf, Linker, LinkerInstance, ResourceType, Val, types::ComponentItem,
    },
};

use crate::{bindings::imports::pyairtable, state::State};

/// Interfaces of the contracts whose engines are not there yet: their functions answer
/// `import.unsupported`.
const UNSUPPORTED: &[&str] = &[
    "pyairtable:storage/blob@",
    "pyairtable:storage/search@",
    "pyairtable:storage/timeseries@",
    "pyairtable:storage/columnar@",
    "pyairtable:events/store@",
    "pyairtable:events/saga@",
    "pyairtable:events/live@",
];

/// A handle of an interface that is not implemented: there never is one.
enum Unsupported {}

/// A linker with everything that is implemented.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let l = &mut linker;
    pyairtable::types::errors::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::types::http::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::service::http::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::service::client::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::service::jobs::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::context::call::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::context::configuration::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::context::cache::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::context::secrets::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::context::log::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::storage::sql::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::storage::kv::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::events::bus::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::mail::mailer::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::crypto::hash::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::crypto::password::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::crypto::signature::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    pyairtable::crypto::compression::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    Ok(linker)
}

/// The linker for one component: what it imports of the contracts and is not implemented answers
/// so.
pub(crate) fn for_component(
    base: &Linker<State>,
    component: &Component,
) -> wasmtime::Result<Linker<State>> {
    let mut linker = base.clone();
    let engine = component.engine();
    for (name, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = &item.ty else { continue };
        if !UNSUPPORTED.iter().any(|interface| name.starts_with(interface)) {
            continue;
        }
        let mut linked = linker.instance(name)?;
        for (function, item) in instance.exports(engine) {
            unsupported(&mut linked, name, function, &item.ty)?;
        }
    }
    Ok(linker)
}

fn unsupported(
    linked: &mut LinkerInstance<'_, State>,
    interface: &str,
    name: &str,
    item: &ComponentItem,
) -> wasmtime::Result<()> {
    match item {
        ComponentItem::Resource(_) => {
            linked.resource(name, ResourceType::host::<Unsupported>(), |_, _| Ok(()))
        }
        ComponentItem::ComponentFunc(_) => {
            let sentence =
                format!("this node does not implement `{interface}`, so `{name}` has no answer");
            linked.func_new(name, move |_, _, _, results| {
                let error = codes::IMPORT_UNSUPPORTED.error(sentence.clone());
                match results {
                    [result] => *result = Val::Result(Err(Some(Box::new(to_val(error))))),
                    _ => return Err(wasmtime::Error::msg(sentence.clone())),
                }
                Ok(())
            })
        }
        _ => Ok(()),
    }
}

/// An error as a value whose type is not known when the host is compiled.
fn to_val(error: CallError) -> Val {
    let error = crate::glue::to_guest(error);
    let field = |name: &str, value| (name.to_owned(), value);
    Val::Record(vec![
        field("class", Val::Enum("unsupported".to_owned())),
        field("code", Val::String(error.code)),
        field("message", Val::String(error.message)),
        field("retry-after-ms", Val::Option(None)),
        field("attrs", Val::List(Vec::new())),
    ])
}

/// The linker for running `init`: what would be frozen into every instance traps with a sentence
/// that names the fix.
pub(crate) fn for_init(
    base: &Linker<State>,
    component: &Component,
    allowed: &[&str],
) -> wasmtime::Result<Linker<State>> {
    let mut linker = base.clone();
    linker.allow_shadowing(true);
    let engine = component.engine();
    for (name, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = &item.ty else { continue };
        if allowed.iter().any(|interface| name.starts_with(interface)) {
            continue;
        }
        let mut linked = linker.instance(name)?;
        for (function, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {}
                ComponentItem::Resource(_) => {
                    linked.resource(
                        function,
                        ResourceType::host::<Unsupported>(),
                        |_, _| Ok(()),
                    )?;
                    continue;
                }
                _ => continue,
            }
            let sentence = format!(
                "`init` called `{function}` of `{name}`: its answer would be frozen into every instance. \
                 Call it where a request is handled, and keep in `init` what does not depend on it"
            );
            linked.func_new(function, move |_, _, _, _| {
                Err(wasmtime::Error::msg(sentence.clone()))
            })?;
        }
    }
    Ok(linker)
}

/// The setting of the node's pool that a component does not fit, by what wasmtime says of it.
const KNOBS: &[(&str, &str)] = &[
    ("core module instances", "core_instances_per_component"),
    ("Wasm linear memories", "memories_per_component"),
    ("defined memories count", "memories_per_component"),
    ("per-instance limit", "tables_per_component"),
    (" tables,", "tables_per_component"),
    ("minimum element size", "table_elements"),
    ("minimum byte size", "memory"),
];

/// What compiling refused, as a sentence that names the setting to change where it is one.
pub(crate) fn refused(error: &wasmtime::Error) -> String {
    let whole = format!("it cannot be compiled: {error:#}");
    match KNOBS.iter().find(|(part, _)| whole.contains(part)) {
        Some((_, knob)) => format!("{whole}; raise `{knob}` of the runtime's pool on this node"),
        None => whole,
    }
}

/// What linking refused, as a sentence that names the interface and what to change.
pub(crate) fn explain(error: &wasmtime::Error) -> String {
    let whole = format!("{error:#}");
    match whole.split('`').nth(1) {
        Some(interface) => format!(
            "it imports `{interface}`, which this host does not offer in that shape; build it against the \
             contracts of this host's version, or stop importing it ({whole})"
        ),
        None => whole,
    }
}
