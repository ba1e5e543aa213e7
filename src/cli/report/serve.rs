//! A report that follows a run: a server for this machine alone.

use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use ablate_stage::cache::Digest;
use tiny_http::{Header, Method, Request, Response, Server};

use super::{compose, tables};
use crate::cli::results::{Results, Subject};
use crate::cli::{Context, Failure, exit};
use crate::report::{Report, activity};
use crate::rows::Outcome;

/// The store is looked into at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was last seen, and what is shown of it.
#[derive(Default)]
struct Shown {
    looked: Option<Instant>,
    standing: Option<Digest>,
    page: String,
    state: String,
}

/// Shows the report until the program is stopped.
pub fn serve(subject: &Subject, port: u16, context: &mut Context<'_>) -> Result<u8, Failure> {
    let mut shown = Shown::default();
    // What is wrong now is told now; what goes wrong later is shown in the page.
    shown.look(subject, context)?;
    let unable = |error: &dyn std::fmt::Display| {
        Failure::new(exit::FAILED, format!("cannot serve on port {port}: {error}; choose another"))
    };
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let server = Server::http(address).map_err(|error| unable(&error))?;
    let address = server.server_addr().to_ip().ok_or_else(|| unable(&"it has no address"))?;
    writeln!(context.out, "the report is at http://{address}/; Ctrl-C ends it")?;
    context.out.flush()?;
    for request in server.incoming_requests() {
        if request.body_length().is_some_and(|length| length > 0) {
            // A report takes in nothing; the library would make room for all that is announced.
            mem::forget(request);
            continue;
        }
        let answer = shown.answer(&request, subject, context);
        // A reader may be slow, or send a body that never ends, which is read before a request is dropped. Whoever has gone away
        // needs no answer.
        thread::spawn(move || drop(request.respond(answer)));
    }
    Ok(exit::DONE)
}

impl Shown {
    fn answer(
        &mut self,
        request: &Request,
        subject: &Subject,
        context: &mut Context<'_>,
    ) -> Response<std::io::Cursor<Vec<u8>>> {
        let header = |name: &str, value: &str| Header::from_bytes(name, value).expect("both are plain");
        let plain = |text: &str, code: u16| {
            let kind = header("Content-Type", "text/plain; charset=utf-8");
            Response::from_string(text).with_status_code(code).with_header(kind)
        };
        // A page of another site that has its name lead here is not to read results.
        let host = request.headers().iter().find(|header| header.field.equiv("Host"));
        if !host.is_some_and(|host| is_local(host.value.as_str())) {
            return plain("this report is for this machine alone\n", 403);
        }
        if *request.method() != Method::Get {
            return plain("a report can only be read\n", 405).with_header(header("Allow", "GET"));
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY)
            && let Err(Failure { message, .. }) = self.look(subject, context)
        {
            self.fail(subject, &message);
        }
        match request.url() {
            "/" => {
                let kind = header("Content-Type", "text/html; charset=utf-8");
                Response::from_string(self.page.clone())
                    .with_header(kind)
                    .with_header(header("Cache-Control", "no-store"))
            }
            "/state" => plain(&self.state, 200),
            _ => plain("there is only the report, at /\n", 404),
        }
    }

    /// Looks whether anything has happened, and makes the page anew where there are other results.
    fn look(&mut self, subject: &Subject, context: &mut Context<'_>) -> Result<(), Failure> {
        self.looked = Some(Instant::now());
        let results = Results::of(subject, context)?;
        let standing = standing(&results)?;
        if self.standing != Some(standing) {
            let report = compose(subject, &results, context)?;
            self.page = report.to_live_html(&standing.to_string());
        }
        self.state = format!("{standing}\n{}", activity::to_html(&results.activity));
        self.standing = Some(standing);
        Ok(())
    }

    /// Shows what is wrong in place of the report, until it is mended.
    fn fail(&mut self, subject: &Subject, message: &str) {
        let title = subject.name().display().to_string();
        let report = Report { title, trouble: message.to_owned(), ..Report::default() };
        let standing = Digest::of_bytes(message.as_bytes());
        self.page = report.to_live_html(&standing.to_string());
        self.state = format!("{standing}\n");
        self.standing = None;
    }
}

/// Whether a `Host` names this machine by its own address.
fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == Ipv4Addr::LOCALHOST.to_string()
}

/// A digest that is another when the report would be.
fn standing(results: &Results) -> Result<Digest, Failure> {
    let each = results.project.graph.ids().map(|id| match results.outcome(id) {
        Outcome::Done(action, _) => format!("{action}\n"),
        Outcome::Missing => "missing\n".to_owned(),
        Outcome::Running => "running\n".to_owned(),
        Outcome::Failed => "failed\n".to_owned(),
    });
    let mut all: String = each.collect();
    // What is told by other files, such as published values and included tables, is in the tables.
    for table in tables(results)? {
        all.push_str(&table.to_html());
    }
    Ok(Digest::of_bytes(all.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_this_machine_is_answered() {
        assert!(["localhost", "localhost:80", "127.0.0.1:4000", "127.0.0.1"].into_iter().all(is_local));
        assert!(!["example.org", "127.0.0.1.example.org:80", "", "192.168.0.2:80"].into_iter().any(is_local));
    }
}
