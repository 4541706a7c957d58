package peers;

import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig.SlidingWindowSynchronizationStrategy;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig.SlidingWindowType;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/**
 * resilience4j as its documentation shows it, with the settings of ../../resilience: trips at a failure rate of 50 %
 * over 100 calls or ten seconds, waits an hour.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Fork(1)
@Warmup(iterations = 20, time = 100, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 40, time = 50, timeUnit = TimeUnit.MILLISECONDS)
public class Breaker {
    /** Without a stack trace: making one would be all that a failure costs. */
    private static final class Failed extends RuntimeException {
        Failed() {
            super("failed", null, false, false);
        }
    }

    private static final Failed FAILED = new Failed();

    @Param({"COUNT_BASED", "TIME_BASED"})
    public SlidingWindowType window;

    @Param({"SYNCHRONIZED", "LOCK_FREE"})
    public SlidingWindowSynchronizationStrategy counting;

    private CircuitBreaker closed;
    private CircuitBreaker open;
    private int call;

    @Setup(Level.Trial)
    public void prepare() {
        CircuitBreakerConfig config = CircuitBreakerConfig.custom()
                .failureRateThreshold(50)
                .slidingWindow(window == SlidingWindowType.COUNT_BASED ? 100 : 10, 100, window, counting)
                .waitDurationInOpenState(Duration.ofHours(1))
                .writableStackTraceEnabled(false)
                .build();
        closed = CircuitBreaker.of("closed", config);
        open = CircuitBreaker.of("open", config);
        open.transitionToOpenState();
    }

    private int succeeds() {
        return call++;
    }

    private int onePercentFails() {
        if (call++ % 100 == 0) {
            throw FAILED;
        }
        return call;
    }

    @Benchmark
    public int success() {
        return closed.executeSupplier(this::succeeds);
    }

    @Benchmark
    public int onePercentFailures() {
        try {
            return closed.executeSupplier(this::onePercentFails);
        } catch (Failed failed) {
            return 0;
        }
    }

    @Benchmark
    public int rejection() {
        try {
            return open.executeSupplier(this::succeeds);
        } catch (RuntimeException rejected) {
            return 0;
        }
    }
}
