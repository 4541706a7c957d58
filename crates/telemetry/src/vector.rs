//! Labelled families, registered with the `prometheus` crate.
//!
//! The values are that crate's, and each family is one collector of its registry. The crate's own vectors copy every
//! label of every child at each scrape and do not support exemplars; these store a child's labels preformatted, so that
//! OpenMetrics can be written without gathering.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus::core::{Collector, Desc, Metric};
use prometheus::proto::{LabelPair, MetricFamily, MetricType};
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter};

use super::exemplars::{Exemplars, TracedHistogram};
use super::names::{Family, Kind};
use super::openmetrics;
use super::reading::{Reader, Reading};

/// A family and its children, one for each combination of label values. Cheap to clone.
#[derive(Clone)]
pub(super) struct Vector<V>(Arc<Inner<V>>);

struct Inner<V> {
    family: &'static Family,
    desc: Desc,
    /// Upper bounds of a histogram's buckets, without `+Inf`.
    bounds: Arc<[f64]>,
    /// The bounds in OpenMetrics notation.
    le: Box<[String]>,
    /// Index of each label in `family.labels`, sorted by name: the order in which they are exposed.
    order: Box<[usize]>,
    /// Children by their formatted labels.
    children: RwLock<BTreeMap<String, Child<V>>>,
}

struct Child<V> {
    values: Box<[String]>,
    value: V,
    exemplars: OnceLock<Exemplars>,
}

/// The metric of a child.
pub(super) trait Value: Metric + 'static {
    const KIND: Kind;

    /// At zero and without labels, which the family adds.
    fn new(family: &Family, bounds: &[f64]) -> Self;

    /// Appends its lines.
    fn write(&self, out: &mut String, series: &openmetrics::Series<'_>);

    /// Itself, to be read.
    fn reader(&self) -> Reader<'_>;
}

/// A family that can write itself.
pub(super) trait Exposed: Send + Sync {
    fn name(&self) -> &'static str;

    /// Appends the family in OpenMetrics format; nothing if it has no children.
    fn write(&self, out: &mut String);

    /// Passes each child to `each`, sorted by labels.
    fn read(&self, each: &mut dyn FnMut(&Reading<'_>));
}

impl<V: Value> Vector<V> {
    pub(super) fn new(family: &'static Family, bounds: &[f64]) -> Self {
        debug_assert_eq!(family.kind, V::KIND, "{}", family.name);
        let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new())
            .expect("names.rs holds valid names");
        let mut order: Vec<usize> = (0..family.labels.len()).collect();
        order.sort_by_key(|place| family.labels[*place]);
        Self(Arc::new(Inner {
            family,
            desc,
            bounds: bounds.into(),
            le: bounds.iter().map(|bound| openmetrics::float(*bound)).collect(),
            order: order.into(),
            children: RwLock::default(),
        }))
    }

    /// The child with these values, in the order of the family's labels; created at zero if it does not exist.
    ///
    /// # Panics
    /// If the number of values differs from that of the labels.
    pub(super) fn with_label_values(&self, values: &[&str]) -> V {
        self.child(values, |child| child.value.clone())
    }

    fn child<T>(&self, values: &[&str], act: impl FnOnce(&Child<V>) -> T) -> T {
        let Inner { family, bounds, order, children, .. } = &*self.0;
        assert_eq!(values.len(), family.labels.len(), "label values of {}", family.name);
        let labels = openmetrics::labels(order.iter().map(|place| (family.labels[*place], values[*place])));
        if let Some(child) = children.read().unwrap_or_else(PoisonError::into_inner).get(&labels) {
            return act(child);
        }
        let new = || Child {
            values: order.iter().map(|place| values[*place].to_owned()).collect(),
            value: V::new(family, bounds),
            exemplars: OnceLock::new(),
        };
        act(children.write().unwrap_or_else(PoisonError::into_inner).entry(labels).or_insert_with(new))
    }
}

impl Vector<Histogram> {
    /// The child with these values, as a histogram with exemplars.
    pub(super) fn traced(&self, values: &[&str]) -> TracedHistogram {
        let bounds = &self.0.bounds;
        self.child(values, |child| {
            let exemplars = child.exemplars.get_or_init(|| Exemplars::of_buckets(bounds.len() + 1));
            TracedHistogram::new(child.value.clone(), Arc::clone(bounds), exemplars.clone())
        })
    }
}

impl<V: Value> Exposed for Vector<V> {
    fn name(&self) -> &'static str {
        self.0.family.name
    }

    fn write(&self, out: &mut String) {
        let Inner { family, le, children, .. } = &*self.0;
        let children = children.read().unwrap_or_else(PoisonError::into_inner);
        if children.is_empty() {
            return;
        }
        let name = openmetrics::head(out, family.name, family.kind, family.help);
        for (labels, child) in &*children {
            child.value.write(out, &openmetrics::Series { name, labels, le, exemplars: child.exemplars.get() });
        }
    }

    fn read(&self, each: &mut dyn FnMut(&Reading<'_>)) {
        let Inner { family, order, children, .. } = &*self.0;
        for child in children.read().unwrap_or_else(PoisonError::into_inner).values() {
            each(&Reading { family, order, values: &child.values, metric: child.value.reader() });
        }
    }
}

impl<V: Value> Collector for Vector<V> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Inner { family, order, children, .. } = &*self.0;
        let pair = |(place, value): (&usize, &String)| {
            let mut pair = LabelPair::default();
            pair.set_name(family.labels[*place].to_owned());
            pair.set_value(value.clone());
            pair
        };
        let metric = |child: &Child<V>| {
            let mut metric = child.value.metric();
            metric.set_label(order.iter().zip(&child.values).map(pair).collect());
            metric
        };
        let children = children.read().unwrap_or_else(PoisonError::into_inner);
        let mut gathered = MetricFamily::default();
        gathered.set_name(family.name.to_owned());
        gathered.set_help(family.help.to_owned());
        gathered.set_field_type(match family.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        gathered.set_metric(children.values().map(metric).collect());
        vec![gathered]
    }
}

impl Value for IntCounter {
    const KIND: Kind = Kind::Counter;

    fn new(family: &Family, _: &[f64]) -> Self {
        Self::new(family.name, family.help).expect("names.rs holds valid names")
    }

    fn write(&self, out: &mut String, series: &openmetrics::Series<'_>) {
        series.counter(out, self.get());
    }

    fn reader(&self) -> Reader<'_> {
        Reader::Counter(self)
    }
}

impl Value for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn new(family: &Family, _: &[f64]) -> Self {
        Self::new(family.name, family.help).expect("names.rs holds valid names")
    }

    fn write(&self, out: &mut String, series: &openmetrics::Series<'_>) {
        series.gauge(out, self.get());
    }

    fn reader(&self) -> Reader<'_> {
        Reader::Gauge(self)
    }
}

impl Value for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn new(family: &Family, bounds: &[f64]) -> Self {
        let opts = HistogramOpts::new(family.name, family.help).buckets(bounds.to_vec());
        Self::with_opts(opts).expect("names.rs holds valid names, and bounds are sorted")
    }

    fn write(&self, out: &mut String, series: &openmetrics::Series<'_>) {
        series.histogram(out, self.metric().get_histogram());
    }

    fn reader(&self) -> Reader<'_> {
        Reader::Histogram(self)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, Registry, TextEncoder};

    use super::*;

    const FAMILY: &Family =
        &Family { name: "things_total", kind: Kind::Counter, labels: &["which", "about"], help: "Things." };

    #[test]
    fn the_same_values_are_the_same_child() {
        let vector = Vector::<IntCounter>::new(FAMILY, &[]);
        vector.with_label_values(&["a", "b"]).inc();
        vector.with_label_values(&["a", "b"]).inc();
        vector.with_label_values(&["b", "a"]).inc_by(7);
        let mut out = String::new();
        vector.write(&mut out);
        assert_eq!(
            out,
            "# TYPE things counter\n# HELP things Things.\n\
             things_total{about=\"a\",which=\"b\"} 7.0\nthings_total{about=\"b\",which=\"a\"} 2.0\n"
        );
    }

    #[test]
    fn a_family_without_children_is_not_exposed() {
        let vector = Vector::<IntCounter>::new(FAMILY, &[]);
        let mut out = String::new();
        vector.write(&mut out);
        assert_eq!(out, "");
        let registry = Registry::new();
        registry.register(Box::new(vector)).unwrap();
        assert!(registry.gather().is_empty());
    }

    #[test]
    fn the_registry_gathers_what_the_crates_own_vectors_would() {
        let (ours, theirs) = (Registry::new(), Registry::new());
        let vector = Vector::<IntCounter>::new(FAMILY, &[]);
        let opts = prometheus::Opts::new(FAMILY.name, FAMILY.help);
        let peer = prometheus::IntCounterVec::new(opts, FAMILY.labels).unwrap();
        ours.register(Box::new(vector.clone())).unwrap();
        theirs.register(Box::new(peer.clone())).unwrap();
        for values in [["b", "a\"\\\n"], ["ab", "a"], ["a", "z"], ["", ""]] {
            vector.with_label_values(&values).inc();
            peer.with_label_values(&values).inc();
        }
        let text = |registry: &Registry| {
            let mut text = Vec::new();
            TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(text(&ours), text(&theirs));
    }

    #[test]
    #[should_panic(expected = "label values of things_total")]
    fn a_missing_value_is_a_mistake() {
        Vector::<IntCounter>::new(FAMILY, &[]).with_label_values(&["a"]);
    }
}
