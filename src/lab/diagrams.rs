//! Diagrams of the report, drawn like its plots.

use super::facts::{Facts, spoken};
use super::metrics::phrase;
use super::spec::Lang;
use super::svg::{Anchor, Canvas};

const CALM: &str = "#e8f1f8";
const HURT: &str = "#fbe3d6";
const BREAKER: &str = "#D55E00";
const STOPPED: &str = "#009E73";

/// A box with a name and a line below it.
fn node(canvas: &mut Canvas, (x, y): (f64, f64), (name, below): (&str, &str), fill: &str) {
    canvas.rect((x, y), (132.0, 44.0), "#9aa5b1");
    canvas.rect((x + 1.0, y + 1.0), (130.0, 42.0), fill);
    canvas.text((x + 66.0, y + 19.0), name, Anchor::Middle);
    canvas.faint((x + 66.0, y + 35.0), below, Anchor::Middle);
}

/// An arrow, with a breaker on it if `breaker` is true.
fn arrow(canvas: &mut Canvas, from: (f64, f64), to: (f64, f64), breaker: bool) {
    canvas.line(from, to, "#555", 1.5);
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy).max(1.0);
    let (ux, uy) = (dx / length, dy / length);
    for side in [-1.0, 1.0] {
        let back = (to.0 - ux * 8.0 + side * uy * 4.0, to.1 - uy * 8.0 - side * ux * 4.0);
        canvas.line(back, to, "#555", 1.5);
    }
    if breaker {
        canvas.circle((f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1)), 8.0, BREAKER);
    }
}

fn in_lang(lang: Lang, en: String, ko: String) -> String {
    match lang {
        Lang::En => en,
        Lang::Ko => ko,
    }
}

/// The diagram with this name.
pub(crate) fn draw(name: &str, lang: Lang, facts: &Facts) -> Result<String, String> {
    match name {
        "architecture" => architecture(lang, facts),
        "spread" => spread(lang, facts),
        "states" => states(lang, facts),
        _ => Err(format!("no diagram {name:?}")),
    }
}

fn architecture(lang: Lang, facts: &Facts) -> Result<String, String> {
    let say = |en, ko| phrase(lang, en, ko);
    let title = say(
        "Where the breakers stand: one for each dependency, at its caller",
        "브레이커의 위치: 호출하는 쪽에, 의존 서비스마다 하나씩",
    );
    let failing = |name| {
        let share = facts.baseline(name)?;
        Ok::<_, String>(in_lang(lang, format!("external, fails {share}"), format!("외부, {share} 실패")))
    };
    let mut canvas = Canvas::new(title, 400.0);
    node(&mut canvas, (14.0, 150.0), ("gateway", say("API gateway", "API 게이트웨이")), CALM);
    let rows = [
        (60.0, "user", say("sign-in, profile", "인증, 프로필")),
        (130.0, "catalog", say("list, details", "목록, 상세")),
        (200.0, "recommendation", say("cache, then popular", "대체: 캐시, 인기작")),
        (290.0, "checkout", say("saga, retry queue", "사가, 재시도 대기열")),
    ];
    for (y, name, below) in rows {
        node(&mut canvas, (250.0, y), (name, below), CALM);
        arrow(&mut canvas, (146.0, 172.0), (250.0, y + 22.0), true);
    }
    node(&mut canvas, (560.0, 40.0), ("primary", say("store", "주 저장소")), CALM);
    node(&mut canvas, (560.0, 92.0), ("replica", say("fallback of primary", "주 저장소의 대체")), CALM);
    arrow(&mut canvas, (382.0, 76.0), (560.0, 62.0), true);
    arrow(&mut canvas, (382.0, 88.0), (560.0, 114.0), true);
    node(&mut canvas, (560.0, 180.0), ("ml-api", &failing("ml-api")?), HURT);
    arrow(&mut canvas, (382.0, 222.0), (560.0, 202.0), true);
    node(&mut canvas, (560.0, 240.0), ("inventory", say("check and reserve", "확인과 차감")), CALM);
    node(&mut canvas, (560.0, 292.0), ("payment-gateway", &failing("payment-gateway")?), HURT);
    node(&mut canvas, (560.0, 344.0), ("notification", say("best effort", "부가 기능")), CALM);
    arrow(&mut canvas, (382.0, 304.0), (560.0, 262.0), true);
    arrow(&mut canvas, (382.0, 312.0), (560.0, 314.0), true);
    arrow(&mut canvas, (382.0, 322.0), (560.0, 366.0), true);
    canvas.circle((22.0, 372.0), 8.0, BREAKER);
    canvas.faint(
        (38.0, 376.0),
        say("circuit breaker (with timeout, bulkhead, retry)", "서킷 브레이커(타임아웃, 벌크헤드, 재시도 포함)"),
        Anchor::Start,
    );
    Ok(canvas.finish())
}

fn spread(lang: Lang, facts: &Facts) -> Result<String, String> {
    let say = |en, ko| phrase(lang, en, ko);
    let trips = facts.about_policy("checkout payment-gateway trips", lang)?;
    let title = say("How a payment fault spreads, and where it stops", "결제 장애는 어떻게 번지고 어디서 멈추는가");
    let mut canvas = Canvas::new(title, 330.0);
    let steps = |canvas: &mut Canvas, y: f64, texts: [(&str, &str); 5], hurt: usize| {
        for (index, (name, below)) in texts.into_iter().enumerate() {
            let x = 20.0 + 146.0 * index as f64;
            node(canvas, (x, y), (name, below), if index < hurt { HURT } else { CALM });
            if index > 0 {
                arrow(canvas, (x - 14.0, y + 22.0), (x, y + 22.0), false);
            }
        }
    };
    canvas.text(
        (20.0, 62.0),
        say("without protection: it spreads from left to right", "보호가 없으면: 왼쪽에서 오른쪽으로 번진다"),
        Anchor::Start,
    );
    steps(
        &mut canvas,
        74.0,
        [
            ("payment-gateway", say("hangs", "응답 없음")),
            ("checkout", say("calls wait", "호출이 기다림")),
            ("gateway", say("pool of 20 is full", "풀 20개가 고갈")),
            ("catalog, user", say("no place for them", "차례가 오지 않음")),
            (say("every page", "모든 페이지"), say("waits, then fails", "기다리다 실패")),
        ],
        5,
    );
    canvas.text(
        (20.0, 172.0),
        say(
            "with protection: it stops at the caller of the payment gateway",
            "보호가 있으면: 결제 게이트웨이를 부르는 자리에서 멈춘다",
        ),
        Anchor::Start,
    );
    steps(
        &mut canvas,
        184.0,
        [
            ("payment-gateway", say("hangs", "응답 없음")),
            ("checkout", say("its breaker opens", "브레이커가 열림")),
            (say("retry queue", "재시도 대기열"), say("orders are kept", "주문을 보관")),
            ("gateway", say("answers at once", "즉시 응답")),
            (say("every page", "모든 페이지"), say("as usual", "평소대로")),
        ],
        1,
    );
    canvas.line((159.0, 176.0), (159.0, 240.0), STOPPED, 4.0);
    canvas.coloured(
        (20.0, 262.0),
        &match lang {
            Lang::En => format!("the circuit breaker stands here, where the fault enters, and opens on {trips}"),
            Lang::Ko => format!("서킷 브레이커는 장애가 들어오는 바로 이 자리에 서고, {trips}이면 열린다"),
        },
        STOPPED,
    );
    canvas.faint(
        (20.0, 300.0),
        say(
            "timeout: bounds the wait · bulkhead: bounds the places · breaker: ends the calls · queue: keeps the order",
            "타임아웃: 기다림을 제한 · 벌크헤드: 자리를 제한 · 브레이커: 호출을 중단 · 대기열: 주문을 보관",
        ),
        Anchor::Start,
    );
    Ok(canvas.finish())
}

fn states(lang: Lang, facts: &Facts) -> Result<String, String> {
    let say = |en, ko| phrase(lang, en, ko);
    let breaker = facts.breaker("checkout", "payment-gateway")?;
    let trips = facts.about_policy("checkout payment-gateway trips", lang)?;
    let probes = breaker.permitted_number_of_calls_in_half_open_state;
    let share = breaker.half_open_success_rate_threshold;
    // The breaker reopens as soon as the required share can no longer be reached.
    let needed = (f64::from(probes) * share / 100.0).ceil();
    let failing = f64::from(probes) - needed + 1.0;
    let wait = spoken(breaker.wait_duration_in_open_state, lang);
    let mut canvas = Canvas::new(
        say("The three states, with the payment gateway's numbers", "세 상태와 결제 게이트웨이의 설정값"),
        240.0,
    );
    node(&mut canvas, (40.0, 90.0), ("Closed", say("passes and counts", "통과시키고 센다")), "#dff2ea");
    node(&mut canvas, (314.0, 90.0), ("Open", say("answers at once", "즉시 대체 응답")), HURT);
    node(
        &mut canvas,
        (588.0, 90.0),
        ("Half-Open", &in_lang(lang, format!("{probes} probes"), format!("시험 호출 {probes}번"))),
        "#fdf0d5",
    );
    arrow(&mut canvas, (172.0, 104.0), (314.0, 104.0), false);
    canvas.faint((243.0, 96.0), &trips, Anchor::Middle);
    arrow(&mut canvas, (446.0, 104.0), (588.0, 104.0), false);
    canvas.faint((517.0, 96.0), &in_lang(lang, format!("after {wait}"), format!("{wait} 뒤")), Anchor::Middle);
    arrow(&mut canvas, (588.0, 124.0), (446.0, 124.0), false);
    canvas.faint(
        (517.0, 144.0),
        &in_lang(lang, format!("{failing} probes fail"), format!("시험 {failing}번 실패")),
        Anchor::Middle,
    );
    canvas.line((654.0, 134.0), (654.0, 184.0), "#555", 1.5);
    canvas.line((654.0, 184.0), (106.0, 184.0), "#555", 1.5);
    arrow(&mut canvas, (106.0, 184.0), (106.0, 134.0), false);
    canvas.faint(
        (380.0, 202.0),
        &in_lang(lang, format!("at least {share} % of the probes succeed"), format!("시험 호출의 {share} % 이상 성공")),
        Anchor::Middle,
    );
    Ok(canvas.finish())
}
