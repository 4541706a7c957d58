//! Checks of scrape targets.

use super::{Finding, Observed, Target, listed};

/// The longest scrape interval for which there are rules.
const SELDOM: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) fn examine(observed: &Observed) -> Vec<Finding> {
    let ours: Vec<&Target> = observed.targets.iter().filter(|target| target.ours).collect();
    let mut findings = Vec::new();
    if observed.targets.is_empty() {
        return vec![Finding::problem(
            "no target exports these metrics, and no job is named breakerbox",
            "add the job of prometheus/snippets/scrape.yml to scrape_configs, or the HTTP service discovery of \
             prometheus/snippets/http_sd.yml, and reload Prometheus",
        )];
    }
    for target in observed.targets.iter().filter(|target| !target.up) {
        findings.push(Finding::problem(
            format!("{} ({}) is down: {}", target.job, target.url, target.error),
            "start it, or correct the target's address; admin ports listen on loopback unless admin.listen says otherwise",
        ));
    }
    for target in observed.targets.iter().filter(|target| target.up && !target.ours) {
        findings.push(Finding::problem(
            format!("{} ({}) answers, but exports none of these metrics", target.job, target.url),
            "point it at an admin port (8090), path /metrics, or rename the job: rules take breakerbox and breakerbox-… for ours",
        ));
    }
    let mut seen: Vec<&Target> = Vec::new();
    for target in &ours {
        match seen.iter().find(|other| other.url == target.url) {
            Some(other) if other.job != target.job => findings.push(Finding::problem(
                format!(
                    "{} is scraped by two jobs, {} and {}: every sum counts it twice",
                    target.url, other.job, target.job
                ),
                "remove one of the jobs",
            )),
            _ => seen.push(target),
        }
        if target.interval > SELDOM {
            findings.push(Finding::hint(
                format!("{} is scraped every {}", target.job, humantime::format_duration(target.interval)),
                "60 s is the longest that any profile of the rules is made for",
            ));
        }
    }
    // The rules about targets select jobs by these names.
    let others: Vec<_> = ours
        .iter()
        .map(|target| target.job.clone())
        .filter(|job| job != "breakerbox" && !job.starts_with("breakerbox-"))
        .collect();
    if !others.is_empty() {
        findings.push(Finding::hint(
            format!("job {} is not named breakerbox or breakerbox-…", listed(&others)),
            "MetricsAbsent and alerts/minimal.yml do not see it: rename the job; TargetAbsent does where a list as in alerts/expected/ has it",
        ));
    }
    if !ours.is_empty() {
        let mut jobs: Vec<_> = ours.iter().map(|target| target.job.clone()).collect();
        jobs.sort();
        jobs.dedup();
        let many = if ours.len() == 1 { "target exports" } else { "targets export" };
        findings.push(Finding::ok(format!("{} {many} these metrics: {}", ours.len(), listed(&jobs))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{Level, healthy};
    use super::*;

    fn only(observed: &Observed, level: Level) -> Finding {
        let found: Vec<_> = examine(observed).into_iter().filter(|finding| finding.level == level).collect();
        let [one] = &found[..] else { panic!("{found:#?}") };
        one.clone()
    }

    #[test]
    fn without_targets_the_scrape_job_is_suggested() {
        let finding = only(&Observed::default(), Level::Problem);
        assert!(finding.to_do.contains("prometheus/snippets/scrape.yml"), "{finding:?}");
    }

    #[test]
    fn a_target_that_is_down_is_named_with_its_error() {
        let mut observed = healthy();
        observed.targets[0].up = false;
        observed.targets[0].ours = false;
        observed.targets[0].error = "connection refused".to_owned();
        assert!(only(&observed, Level::Problem).what.contains("connection refused"));
    }

    #[test]
    fn a_target_without_these_metrics_is_named() {
        let mut observed = healthy();
        observed.targets[0].ours = false;
        assert!(only(&observed, Level::Problem).what.contains("exports none"));
    }

    #[test]
    fn a_process_that_two_jobs_scrape_is_named() {
        let mut observed = healthy();
        let mut twice = observed.targets[0].clone();
        twice.job = "breakerbox-again".to_owned();
        observed.targets.push(twice);
        assert!(only(&observed, Level::Problem).what.contains("breakerbox and breakerbox-again"));
    }

    #[test]
    fn a_job_that_no_target_rule_selects_is_a_hint() {
        let mut observed = healthy();
        observed.targets[0].job = "films".to_owned();
        assert!(only(&observed, Level::Hint).what.contains("films"));
    }
}
