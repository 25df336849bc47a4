//! Consumes events, runs jobs, is woken by time.

wit_bindgen::generate!({
    path: [
        "../../../wit/types", "../../../wit/context", "../../../wit/crypto", "../../../wit/storage",
        "../../../wit/events", "../../../wit/mail", "../../../wit/service",
    ],
    inline: "
        package guest:worker;

        world worker {
            include pyairtable:service/event-consumer@0.1.0;
            include pyairtable:service/job-runner@0.1.0;
            include pyairtable:service/ticker@0.1.0;
        }
    ",
    world: "guest:worker/worker",
    features: ["search", "timeseries", "columnar", "saga", "live"],
    generate_all,
});

use exports::pyairtable::{
    events::consumer::{Delivery, Guest as Consumer, Outcome},
    service::{job_handler::Guest as JobHandler, tick_handler::Guest as TickHandler},
};
use pyairtable::{
    context::call,
    service::{
        client,
        http::{BodyOut, Outgoing},
        jobs::{self, Job, JobSpec},
    },
    storage::sql::{Transaction, Value},
    types::errors::{Error, ErrorClass},
};

struct Worker;

impl Consumer for Worker {
    fn consume(deliveries: Vec<Delivery>, tx: Option<&Transaction>) -> Vec<Outcome> {
        deliveries
            .into_iter()
            .map(|delivery| match delivery.subject.as_str() {
                "trap" => core::arch::wasm32::unreachable(),
                "dead" => Outcome::Dead("asked for it".into()),
                "later" => Outcome::Retry(Some(1_500)),
                "call" => {
                    let error = client::call(&Outgoing {
                        method: "GET".into(),
                        url: "http://other/".into(),
                        headers: vec![],
                        body: BodyOut::None,
                        timeout_ms: None,
                        attrs: vec![],
                    })
                    .err();
                    Outcome::Dead(error.map(|error| error.code).unwrap_or_default())
                }
                "commit" => {
                    let error = tx.and_then(|tx| tx.commit(None).err());
                    Outcome::Dead(error.map(|error| error.code).unwrap_or_default())
                }
                subject => {
                    if let Some(tx) = tx {
                        let note = [Value::Text(subject.into()), Value::Text(call::tenant().unwrap_or_default())];
                        tx.execute("INSERT INTO notes (id, note) VALUES ($1, $2)", &note).expect("an insert");
                    }
                    Outcome::Ack
                }
            })
            .collect()
    }
}

impl JobHandler for Worker {
    fn run(job: Job) -> Result<Vec<u8>, Error> {
        if job.kind() == "fail" {
            return Err(Error {
                class: ErrorClass::Invalid,
                code: "worker.invalid".into(),
                message: "asked for it".into(),
                retry_after_ms: None,
                attrs: vec![],
            });
        }
        job.progress(50, "half")?;
        let text = format!(
            "{} {} {} {}",
            job.attempt(),
            String::from_utf8_lossy(&job.payload()),
            call::tenant().unwrap_or_default(),
            call::correlation_id(),
        );
        Ok(text.into_bytes())
    }
}

impl TickHandler for Worker {
    fn tick(name: String, due: i64) -> Result<(), Error> {
        jobs::put(
            &JobSpec {
                kind: "work".into(),
                key: None,
                run_at: None,
                payload: format!("{name} {due}").into_bytes(),
                payload_version: 1,
                max_attempts: None,
                attrs: vec![],
            },
            None,
        )?;
        Ok(())
    }
}

export!(Worker);
