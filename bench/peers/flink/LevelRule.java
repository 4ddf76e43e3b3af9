import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.CoreOptions;
import org.apache.flink.configuration.ExecutionOptions;
import org.apache.flink.configuration.JobManagerOptions;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** One level rule with hysteresis in Flink: a keyed process function, whose state is in checkpoints. */
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

    /** (zone, pack) of each record that is no tick. */
    static final class Packs implements KafkaRecordDeserializationSchema<Tuple2<String, byte[]>> {
        private transient Tuple2<String, byte[]> pack;

        @Override
        public void open(DeserializationSchema.InitializationContext context) {
            pack = new Tuple2<>();
        }

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple2<String, byte[]>> packs) {
            String key = new String(record.key(), StandardCharsets.UTF_8);
            if (!"@clock".equals(key)) {
                pack.setFields(key, record.value());
                packs.collect(pack);
            }
        }

        @Override
        public TypeInformation<Tuple2<String, byte[]>> getProducedType() {
            return Types.TUPLE(Types.STRING, Types.PRIMITIVE_ARRAY(Types.BYTE));
        }
    }

    static final class Levels extends KeyedProcessFunction<String, Tuple2<String, byte[]>, Alert> {
        private transient MapState<String, Integer> levels;
        private transient ObjectReader reader;

        @Override
        public void open(OpenContext context) {
            levels = getRuntimeContext().getMapState(new MapStateDescriptor<>("levels", Types.STRING, Types.INT));
            reader = new ObjectMapper().readerFor(Entry[].class);
        }

        @Override
        public void processElement(Tuple2<String, byte[]> pack, Context context, Collector<Alert> alerts)
                throws Exception {
            String baseName = "";
            double baseTime = 0;
            for (Entry entry : reader.<Entry[]>readValue(pack.f1)) {
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
                    alerts.collect(new Alert(site, level, before, at, value));
                }
            }
        }
    }

    static final class Alerts implements KafkaRecordSerializationSchema<Alert> {
        private final String topic;
        private transient ObjectWriter writer;

        Alerts(String topic) {
            this.topic = topic;
        }

        @Override
        public void open(SerializationSchema.InitializationContext context, KafkaSinkContext sink) {
            writer = new ObjectMapper().writerFor(Alert.class);
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(Alert alert, KafkaSinkContext sink, Long timestamp) {
            try {
                byte[] key = alert.site().getBytes(StandardCharsets.UTF_8);
                return new ProducerRecord<>(topic, key, writer.writeValueAsBytes(alert));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    private static Configuration settings(Path folder) {
        Configuration settings = new Configuration();
        settings.set(CoreOptions.DEFAULT_PARALLELISM, 1);
        settings.set(CoreOptions.TMP_DIRS, folder.toString());
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(PipelineOptions.GENERIC_TYPES, false); // never Kryo
        settings.set(ExecutionOptions.BUFFER_TIMEOUT, Duration.ofMillis(10)); // what it recommends for low latency
        settings.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofSeconds(10));
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, folder.resolve("checkpoints").toUri().toString());
        for (var host : List.of(JobManagerOptions.BIND_HOST, TaskManagerOptions.BIND_HOST, RestOptions.BIND_ADDRESS)) {
            settings.set(host, "localhost");
        }
        return settings;
    }

    public static void main(String[] arguments) throws Exception {
        String broker = System.getenv("COURSE_BROKER");
        StreamExecutionEnvironment environment =
            StreamExecutionEnvironment.getExecutionEnvironment(settings(Path.of(System.getenv("COURSE_FOLDER"))));
        KafkaSource<Tuple2<String, byte[]>> packs = KafkaSource.<Tuple2<String, byte[]>>builder()
            .setBootstrapServers(broker)
            .setTopics(System.getenv("COURSE_SOURCE"))
            .setGroupId(System.getenv("COURSE_ID"))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setDeserializer(new Packs())
            .build();
        KafkaSink<Alert> alerts = KafkaSink.<Alert>builder()
            .setBootstrapServers(broker)
            .setRecordSerializer(new Alerts(System.getenv("COURSE_ALERTS")))
            .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
            .build();
        environment.fromSource(packs, WatermarkStrategy.noWatermarks(), "readings")
            .keyBy(pack -> pack.f0)
            .process(new Levels())
            .sinkTo(alerts);
        environment.execute("level-rule");
    }
}
