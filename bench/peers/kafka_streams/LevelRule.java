import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** One level rule with hysteresis in Kafka Streams: a processor and a store with a changelog. */
public final class LevelRule {
    private static final double[] UP = {0.10, 0.20, 0.27};
    private static final double[] DOWN = {0.07, 0.17, 0.24};
    private static final int[] LEVELS = {1, 2, 4};

    /** A SenML record. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Entry {
        public String bn;
        public Double bt;
        public String n;
        public Double t;
        public Double v;
    }

    /** A change of level; at is in ms. */
    public record Alert(String site, int level, int previous, long at, double value) {}

    static int highest(double[] thresholds, double value) {
        int level = 0;
        for (int i = 0; i < thresholds.length; i++) {
            if (value >= thresholds[i]) {
                level = LEVELS[i];
            }
        }
        return level;
    }

    static final class Levels implements Processor<String, Entry[], String, Alert> {
        private ProcessorContext<String, Alert> context;
        private KeyValueStore<String, Integer> levels;

        @Override
        public void init(ProcessorContext<String, Alert> context) {
            this.context = context;
            levels = context.getStateStore("levels");
        }

        @Override
        public void process(Record<String, Entry[]> record) {
            if ("@clock".equals(record.key())) {
                return;
            }
            String baseName = "";
            double baseTime = 0;
            for (Entry entry : record.value()) {
                if (entry.bn != null) {
                    baseName = entry.bn;
                }
                if (entry.bt != null) {
                    baseTime = entry.bt;
                }
                if (entry.v == null) {
                    continue;
                }
                String name = baseName + entry.n;
                String site = name.substring(0, name.lastIndexOf('/'));
                Integer known = levels.get(site);
                int before = known == null ? 0 : known;
                double value = entry.v;
                int level = Math.min(Math.max(before, highest(UP, value)), highest(DOWN, value));
                if (level != before) {
                    levels.put(site, level);
                    long at = Math.round((baseTime + (entry.t == null ? 0 : entry.t)) * 1000);
                    context.forward(record.withKey(site).withValue(new Alert(site, level, before, at, value)));
                }
            }
        }
    }

    public static void main(String[] arguments) {
        ObjectMapper mapper = new ObjectMapper();
        ObjectReader reader = mapper.readerFor(Entry[].class);
        ObjectWriter writer = mapper.writerFor(Alert.class);
        Serde<Entry[]> packs = Serdes.serdeFrom(
            (topic, pack) -> {
                throw new UnsupportedOperationException("packs are only read");
            },
            (Deserializer<Entry[]>) (topic, bytes) -> {
                try {
                    return reader.readValue(bytes);
                } catch (IOException error) {
                    throw new UncheckedIOException(error);
                }
            });
        Serde<Alert> alerts = Serdes.serdeFrom(
            (Serializer<Alert>) (topic, alert) -> {
                try {
                    return writer.writeValueAsBytes(alert);
                } catch (IOException error) {
                    throw new UncheckedIOException(error);
                }
            },
            (topic, bytes) -> {
                throw new UnsupportedOperationException("alerts are only written");
            });

        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore("levels"), Serdes.String(), Serdes.Integer()));
        builder.stream(System.getenv("COURSE_SOURCE"), Consumed.with(Serdes.String(), packs))
            .process(Levels::new, "levels")
            .to(System.getenv("COURSE_ALERTS"), Produced.with(Serdes.String(), alerts));

        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getenv("COURSE_ID"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("COURSE_BROKER"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, System.getenv("COURSE_FOLDER"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
