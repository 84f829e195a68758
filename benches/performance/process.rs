//! Processes and their costs.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The Python interpreter of the reference programs: `$PYTHON`, or `python3`.
pub(crate) fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// The cost of a program.
pub(crate) struct Cost {
    /// Seconds of processor time, threads included.
    pub(crate) cpu: f64,
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Peak resident memory, sampled often; 0 for a program that ends immediately.
    pub(crate) peak_mebibytes: f64,
}

/// Runs `command` to its end; `None` if it cannot be run or fails.
pub(crate) fn cost(command: &mut Command) -> Option<Cost> {
    let (before, start) = (children(), Instant::now());
    let mut server = Server { child: command.stderr(Stdio::null()).spawn().ok()?, address: String::new() };
    let mut peak_mebibytes: f64 = 0.0;
    let status = loop {
        peak_mebibytes = peak_mebibytes.max(server.peak_mebibytes());
        if let Some(status) = server.child.try_wait().ok()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = start.elapsed().as_secs_f64();
    status.success().then(|| Cost { cpu: children() - before, wall, peak_mebibytes })
}

/// Processor time of all children that have ended, in seconds: fields 16 and 17 of `proc_pid_stat(5)`, in
/// hundredths on every Linux.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = fields.split(' ').skip(13).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Processor time of this process so far, its threads included, in seconds.
pub(crate) fn own_cpu_seconds() -> f64 {
    of_process(std::process::id())
}

/// Resident memory of this process now.
pub(crate) fn own_mebibytes() -> f64 {
    mebibytes("self", "VmRSS:")
}

/// A port that was free just now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound address").port()
}

/// A server in a separate process, which is stopped on drop.
pub(crate) struct Server {
    pub(crate) address: String,
    child: Child,
}

impl Server {
    /// Starts a program that prints its address in its first line.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut address).expect("a line");
        Self { address: address.trim().to_owned(), child }
    }

    /// Starts a program that listens on `address`; `None` if the program does not exist.
    pub(crate) fn start_on(command: &mut Command, address: String) -> Option<Self> {
        let server = Self { child: command.spawn().ok()?, address };
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(&server.address).is_err() {
            assert!(Instant::now() < patience, "nobody listens on {}", server.address);
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    /// Processor time so far of the process, its threads and its direct children, in seconds: the first
    /// number of `schedstat` is nanoseconds on a processor (`Documentation/scheduler/sched-stats` of the
    /// kernel).
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split(' ').filter_map(|child| child.parse::<u32>().ok());
        std::iter::once(pid).chain(children).map(of_process).sum()
    }

    /// Resident memory now.
    pub(crate) fn mebibytes(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// Peak resident memory.
    pub(crate) fn peak_mebibytes(&self) -> f64 {
        self.status("VmHWM:")
    }

    /// A number of kibibytes of `proc_pid_status(5)`.
    fn status(&self, name: &str) -> f64 {
        mebibytes(&self.child.id().to_string(), name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn of_process(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let on_processor = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or_default()
    };
    threads.map(|thread| on_processor(thread.path())).sum::<f64>() / 1e9
}

fn mebibytes(process: &str, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}
