use airhost_core::{CallContext, ServiceName, codes};
use airhost_storage::sql::{Access, Database};
use async_trait::async_trait;

use super::*;
use crate::{
    JobSpec, JobState, JobStatus, KindRule, Kinds, RunningJob,
    testing::{Hands, context, database, eventually, service, soon},
};

const SECOND: Duration = Duration::from_secs(1);

type Script = Box<dyn Fn(&RunningJob) -> Result<Vec<u8>> + Send + Sync>;

/// Does what its script says; jobs of the kind `slow` never end.
struct Runner {
    script: Script,
    seen: Mutex<Vec<Arc<RunningJob>>>,
}

impl Runner {
    fn new(script: impl Fn(&RunningJob) -> Result<Vec<u8>> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), seen: Mutex::default() })
    }

    fn runs(&self) -> usize {
        self.seen.lock().len()
    }
}

#[async_trait]
impl RunJob for Runner {
    async fn run(&self, _: &ServiceName, job: Arc<RunningJob>) -> Result<Vec<u8>> {
        self.seen.lock().push(Arc::clone(&job));
        if job.kind == "slow" {
            std::future::pending::<()>().await;
        }
        (self.script)(&job)
    }
}

fn kinds() -> Kinds {
    let rule = KindRule { max_attempts: 3, deadline: Duration::from_secs(30) };
    let hasty = KindRule { deadline: Duration::from_millis(20), ..rule };
    [("quick".to_owned(), rule), ("slow".to_owned(), rule), ("hasty".to_owned(), hasty)].into()
}

fn spec(kind: &str, key: Option<&str>) -> JobSpec {
    JobSpec {
        kind: kind.into(),
        key: key.map(str::to_owned),
        payload: b"{}".to_vec(),
        ..JobSpec::default()
    }
}

fn config() -> WorkerConfig {
    WorkerConfig {
        every: Duration::from_millis(2),
        lease: Duration::from_secs(30),
        drain: Duration::from_millis(20),
        pause: Backoff::new(Duration::from_millis(2), Duration::from_millis(4)),
        ..WorkerConfig::default()
    }
}

struct Bench {
    _folder: tempfile::TempDir,
    hands: Hands,
    database: Arc<dyn Database>,
    jobs: Jobs,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let hands = Hands::at(1_700_000_000_000_000);
        let database = database(folder.path()).await;
        let jobs = Jobs::new(service(), kinds(), Arc::clone(&database), hands.clock());
        Self { _folder: folder, hands, database, jobs }
    }

    async fn put(&self, spec: JobSpec) -> String {
        self.jobs.put(spec, &context(None), None).await.expect("put")
    }

    async fn status(&self, id: &str) -> JobStatus {
        self.jobs.status(id, &context(None)).await.expect("a status")
    }

    async fn ends_as(&self, id: &str, state: JobState) -> JobStatus {
        eventually(state.as_str(), async || self.status(id).await.state == state).await;
        self.status(id).await
    }

    fn start(&self, config: WorkerConfig, runner: Arc<Runner>) -> Started {
        let stop = CancellationToken::new();
        let worker = Worker::new(self.jobs.clone(), runner, config);
        Started { worker: worker.clone(), task: tokio::spawn(worker.run(stop.clone())), stop }
    }
}

struct Started {
    worker: Worker,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Started {
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task)
            .await
            .expect("stops")
            .expect("ends");
    }
}

#[tokio::test]
async fn a_job_runs_once_with_what_it_was_put_with() {
    let bench = Bench::new().await;
    let given = JobSpec {
        payload: vec![1, 2, 3],
        payload_version: 7,
        attrs: vec![("a".into(), "b".into())],
        ..spec("quick", Some("k"))
    };
    let put: CallContext = context(Some("t-1"));
    let id = bench.jobs.put(given, &put, None).await.expect("put");
    let runner = Runner::new(|job| Ok(job.payload.iter().rev().copied().collect()));
    let started = bench.start(config(), Arc::clone(&runner));
    let status = bench.ends_as(&id, JobState::Succeeded).await;
    assert_eq!((status.output, status.attempt, status.progress), (Some(vec![3, 2, 1]), 1, 100));
    started.stop().await;
    let seen = runner.seen.lock();
    let [job] = seen.as_slice() else { panic!("{} runs", seen.len()) };
    assert_eq!(
        (job.id.as_str(), job.key.as_deref(), job.payload_version),
        (id.as_str(), Some("k"), 7)
    );
    assert_eq!(job.tenant, put.tenant);
    assert_eq!(job.correlation, put.correlation);
    assert_eq!(job.attrs, [("a".to_owned(), "b".to_owned())]);
}

#[tokio::test]
async fn a_job_exists_if_and_only_if_its_transaction_commits() {
    let bench = Bench::new().await;
    let tx = bench.database.begin(Access::Write, soon()).await.expect("a transaction");
    let lost = bench
        .jobs
        .put(spec("quick", Some("k")), &context(None), Some(tx.as_ref()))
        .await
        .expect("put");
    tx.rollback().await.expect("rolled back");
    let tx = bench.database.begin(Access::Write, soon()).await.expect("a transaction");
    let kept = bench
        .jobs
        .put(spec("quick", Some("k")), &context(None), Some(tx.as_ref()))
        .await
        .expect("put");
    let again = bench
        .jobs
        .put(spec("quick", Some("k")), &context(None), Some(tx.as_ref()))
        .await
        .expect("put");
    assert_eq!(kept, again);
    tx.commit().await.expect("committed");
    let error = bench.jobs.status(&lost, &context(None)).await.expect_err("it is not there");
    assert_eq!(error.code, "jobs.not-found");
    assert_eq!(bench.status(&kept).await.state, JobState::Waiting);
}

#[tokio::test]
async fn a_key_is_taken_until_its_job_has_ended() {
    let bench = Bench::new().await;
    let first = bench.put(spec("quick", Some("k"))).await;
    assert_eq!(bench.put(spec("quick", Some("k"))).await, first);
    assert_ne!(bench.put(spec("hasty", Some("k"))).await, first, "another kind");
    assert_ne!(bench.put(spec("quick", None)).await, bench.put(spec("quick", None)).await);
    let of_tenant =
        bench.jobs.put(spec("quick", Some("k")), &context(Some("t")), None).await.expect("put");
    assert_ne!(of_tenant, first, "another tenant");
    let started = bench.start(config(), Runner::new(|_| Ok(Vec::new())));
    bench.ends_as(&first, JobState::Succeeded).await;
    assert_ne!(bench.put(spec("quick", Some("k"))).await, first);
    started.stop().await;
}

#[tokio::test]
async fn a_job_of_another_tenant_does_not_exist() {
    let bench = Bench::new().await;
    let id = bench.jobs.put(spec("quick", None), &context(Some("a")), None).await.expect("put");
    let other = context(Some("b"));
    assert_eq!(bench.jobs.status(&id, &other).await.expect_err("hidden").code, "jobs.not-found");
    assert!(!bench.jobs.cancel(&id, &other, None).await.expect("answered"));
    assert!(bench.jobs.cancel(&id, &context(Some("a")), None).await.expect("cancelled"));
    assert!(!bench.jobs.cancel(&id, &context(Some("a")), None).await.expect("answered"));
    assert!(!bench.jobs.cancel("no id", &other, None).await.expect("answered"));
}

#[tokio::test]
async fn what_the_manifest_does_not_allow_is_refused() {
    let bench = Bench::new().await;
    let large = JobSpec { payload: vec![0; MOST + 1], ..spec("quick", None) };
    const MOST: usize = 256 * 1024;
    for (given, code) in [(spec("other", None), "jobs.kind"), (large, "jobs.too-large")] {
        let error = bench.jobs.put(given, &context(None), None).await.expect_err(code);
        assert_eq!(error.code, code);
    }
}

#[tokio::test]
async fn a_failure_is_tried_again_after_its_back_off_until_attempts_are_used_up() {
    let bench = Bench::new().await;
    let id = bench.put(spec("quick", None)).await;
    let runner = Runner::new(|_| Err(codes::SQL_BUSY.error("not now")));
    let started = bench.start(config(), Arc::clone(&runner));
    for attempt in 1..3 {
        eventually("the attempt fails", async || {
            let status = bench.status(&id).await;
            status.state == JobState::Waiting && status.attempt == attempt
        })
        .await;
        // The wait is at least half of the back-off: not yet.
        bench.hands.advance(Duration::from_millis(400));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(runner.runs() as u32, attempt);
        bench.hands.advance(2 * SECOND * attempt);
    }
    let status = bench.ends_as(&id, JobState::Failed).await;
    assert_eq!((status.attempt, status.last_error.as_deref()), (3, Some("sql.busy")));
    assert_eq!(runner.runs(), 3);
    started.stop().await;
}

#[tokio::test]
async fn some_failures_are_final_and_some_count_no_attempt() {
    let bench = Bench::new().await;
    for code in [
        &codes::SQL_SYNTAX,
        &codes::CALL_DENIED,
        &codes::BLOB_NOT_FOUND,
        &codes::IMPORT_UNSUPPORTED,
    ] {
        let id = bench.put(spec("quick", None)).await;
        let started = bench.start(config(), Runner::new(|_| Err(code.error("no"))));
        let status = bench.ends_as(&id, JobState::Failed).await;
        assert_eq!((status.attempt, status.last_error.as_deref()), (1, Some(code.code)));
        started.stop().await;
    }
    let id = bench.put(spec("quick", None)).await;
    let runner = Runner::new(|_| Err(codes::GUEST_NO_REVISION.error("nothing is deployed")));
    let started = bench.start(config(), Arc::clone(&runner));
    for run in 1..6 {
        eventually("it was tried", async || {
            runner.runs() == run && bench.status(&id).await.state == JobState::Waiting
        })
        .await;
        assert_eq!(bench.status(&id).await.attempt, 0);
        bench.hands.advance(SECOND);
    }
    started.stop().await;
}

#[tokio::test]
async fn a_job_waits_for_its_time_and_ends_at_its_deadline() {
    let bench = Bench::new().await;
    let run_at = Some(1_700_000_000_000_000 + 60_000_000);
    let later = bench.put(JobSpec { run_at, ..spec("quick", None) }).await;
    let runner = Runner::new(|_| Ok(Vec::new()));
    let started = bench.start(config(), Arc::clone(&runner));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(runner.runs(), 0);
    bench.hands.advance(60 * SECOND);
    bench.ends_as(&later, JobState::Succeeded).await;
    started.stop().await;

    struct Stuck;
    #[async_trait]
    impl RunJob for Stuck {
        async fn run(&self, _: &ServiceName, _: Arc<RunningJob>) -> Result<Vec<u8>> {
            std::future::pending().await
        }
    }
    let id = bench.put(JobSpec { max_attempts: Some(1), ..spec("hasty", None) }).await;
    let stop = CancellationToken::new();
    let worker = Worker::new(bench.jobs.clone(), Arc::new(Stuck), config());
    let task = tokio::spawn(worker.run(stop.clone()));
    let status = bench.ends_as(&id, JobState::Failed).await;
    assert_eq!(status.last_error.as_deref(), Some("deadline.exceeded"));
    stop.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn a_job_whose_worker_died_runs_again_until_attempts_are_used_up() {
    let bench = Bench::new().await;
    let id = bench.put(JobSpec { max_attempts: Some(2), ..spec("slow", None) }).await;
    for attempt in 1..3 {
        let runner = Runner::new(|_| Ok(Vec::new()));
        let dying = bench.start(config(), Arc::clone(&runner));
        eventually("it runs", async || runner.runs() == 1).await;
        assert_eq!(runner.seen.lock()[0].attempt, attempt);
        // The worker is gone without a word.
        dying.task.abort();
        drop(dying.task.await);
        assert_eq!(bench.status(&id).await.state, JobState::Running);
        bench.hands.advance(31 * SECOND);
    }
    let started = bench.start(config(), Runner::new(|_| Ok(Vec::new())));
    let status = bench.ends_as(&id, JobState::Failed).await;
    assert_eq!((status.attempt, status.last_error.as_deref()), (2, Some("jobs.lost")));
    started.stop().await;
}

#[tokio::test]
async fn a_running_job_keeps_its_lease_and_tells_progress() {
    let bench = Bench::new().await;
    let id = bench.put(spec("slow", None)).await;
    let runner = Runner::new(|_| Ok(Vec::new()));
    let quick_lease = WorkerConfig { lease: Duration::from_millis(60), ..config() };
    let started = bench.start(quick_lease, Arc::clone(&runner));
    eventually("it runs", async || runner.runs() == 1).await;
    let job = Arc::clone(&runner.seen.lock()[0]);
    job.progress(40, "half way\0").await.expect("told");
    let status = bench.status(&id).await;
    assert_eq!((status.progress, status.note.as_str()), (40, "half way"));
    // The wall clock goes on in steps shorter than the lease, each after a renewal.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        bench.hands.advance(Duration::from_millis(30));
    }
    assert_eq!(runner.runs(), 1, "nobody else took it");

    assert!(bench.jobs.cancel(&id, &context(None), None).await.expect("cancelled"));
    assert_eq!(job.progress(50, "").await.expect_err("lost").code, "jobs.lost");
    eventually("the run is stopped", async || started.worker.status().lost == 1).await;
    assert_eq!(bench.status(&id).await.state, JobState::Cancelled);
    started.stop().await;
}

#[tokio::test]
async fn no_more_jobs_run_at_once_than_allowed_and_two_workers_share_them() {
    let bench = Bench::new().await;
    for _ in 0..9 {
        bench.put(spec("slow", None)).await;
    }
    let one = Runner::new(|_| Ok(Vec::new()));
    let two = Runner::new(|_| Ok(Vec::new()));
    let limited = WorkerConfig { concurrency: 3, ..config() };
    let (first, second) =
        (bench.start(limited, Arc::clone(&one)), bench.start(limited, Arc::clone(&two)));
    eventually("both are busy", async || one.runs() == 3 && two.runs() == 3).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!((one.runs(), two.runs()), (3, 3));
    let ids: std::collections::BTreeSet<_> =
        one.seen.lock().iter().chain(two.seen.lock().iter()).map(|job| job.id.clone()).collect();
    assert_eq!(ids.len(), 6, "no job is run by both");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_stop_gives_back_what_does_not_finish() {
    let bench = Bench::new().await;
    let id = bench.put(spec("slow", None)).await;
    let runner = Runner::new(|_| Ok(Vec::new()));
    let started = bench.start(config(), Arc::clone(&runner));
    eventually("it runs", async || runner.runs() == 1).await;
    started.stop().await;
    let status = bench.status(&id).await;
    assert_eq!((status.state, status.attempt), (JobState::Waiting, 0));
}

#[tokio::test]
async fn ended_jobs_are_forgotten_after_their_retention() {
    let bench = Bench::new().await;
    let ended = bench.put(spec("quick", None)).await;
    let started = bench.start(config(), Runner::new(|_| Ok(Vec::new())));
    bench.ends_as(&ended, JobState::Succeeded).await;
    started.stop().await;
    let waiting = bench.put(JobSpec { run_at: Some(i64::MAX), ..spec("quick", None) }).await;
    bench.hands.advance(8 * 24 * 3_600 * SECOND);
    let started = bench.start(config(), Runner::new(|_| Ok(Vec::new())));
    eventually("it is forgotten", async || {
        bench.jobs.status(&ended, &context(None)).await.is_err()
    })
    .await;
    assert_eq!(bench.status(&waiting).await.state, JobState::Waiting);
    started.stop().await;
}
