//! Asks a component what it offers, without a node.

use wasmtime::{
    Config, OptLevel, Store,
    component::{Component, Linker},
};

use airhost_core::{Error, Result, codes};

/// The interface that a component describes itself with.
const DESCRIBE: &str = "pyairtable:service/describe@0.1.0";
/// Instructions it may take for that: a few seconds.
const FUEL: u64 = 10_000_000_000;

/// The OpenAPI document (JSON) that a component describes itself with; none if it does not. It is
/// run with nothing behind its imports: what it says depends on its code alone.
///
/// # Errors
/// `deploy.not-a-component` if it cannot be compiled or its description fails.
pub fn describe(component: &[u8]) -> Result<Option<String>> {
    asked(component).map_err(|error| {
        let reason = format!("the component cannot say what it offers: {error:#}");
        Error { attrs: Vec::new(), ..codes::DEPLOY_NOT_A_COMPONENT.error(reason) }
    })
}

fn asked(component: &[u8]) -> wasmtime::Result<Option<String>> {
    let mut config = Config::new();
    // It runs once: compiling quickly counts for more than running quickly.
    config.cranelift_opt_level(OptLevel::None).consume_fuel(true);
    let engine = wasmtime::Engine::new(&config)?;
    let component = Component::new(&engine, component)?;
    let Some((_, interface)) = component.get_export(None, DESCRIBE) else { return Ok(None) };
    let Some((_, function)) = component.get_export(Some(&interface), "openapi") else {
        return Ok(None);
    };
    let mut linker = Linker::<()>::new(&engine);
    linker.define_unknown_imports_as_traps(&component)?;
    let mut store = Store::new(&engine, ());
    store.set_fuel(FUEL)?;
    let instance = linker.instantiate(&mut store, &component)?;
    let openapi = instance.get_typed_func::<(), (String,)>(&mut store, function)?;
    let (document,) = openapi.call(&mut store, ())?;
    Ok(Some(document))
}
