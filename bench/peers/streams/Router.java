import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.hankcs.algorithm.AhoCorasickDoubleArrayTrie;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;

/**
 * The peer of the router: Kafka Streams, exactly_once_v2, one thread, doing only the matching.
 *
 * <p>The text is taken out of the value by Jackson's streaming parser, the same 200 keywords are looked for in it by
 * Aho-Corasick, and the answer is added to the bytes as they came. A transaction every 100 ms, which is Kafka Streams'
 * own default; what its producer waits and how it compresses is what the other peers have. No identity, no repeats, no
 * reasons.
 *
 * <p>Arguments: --bootstrap --group --input --output (the prefix of a topic for each team) --words (a file: a JSON list
 * of [keyword, team]) --default (the team of what no rule finds) --state (a directory).
 */
public final class Router {
    /** The team, which is its sink's name too, and what takes the place of the value's closing brace. */
    private record Ending(String team, byte[] tail) {
        static Ending of(String team, String rule) {
            String tail = ",\"routing\":{\"role\":\"owner\",\"team\":\"" + team + "\",\"rule\":" + rule + "}}";
            return new Ending(team, tail.getBytes(StandardCharsets.UTF_8));
        }
    }

    /** Which rule's word a text holds; the first rule where it holds several. Read by one thread after it is made. */
    private static final class Rules {
        private final AhoCorasickDoubleArrayTrie<Integer> words = new AhoCorasickDoubleArrayTrie<>();
        private final List<Ending> endings = new ArrayList<>();
        private final Ending none;
        private final Set<String> teams = new HashSet<>();

        Rules(JsonNode given, String otherwise) {
            TreeMap<String, Integer> numbers = new TreeMap<>();
            for (JsonNode pair : given) {
                int rule = endings.size();
                numbers.put(pair.get(0).asText(), rule);
                endings.add(Ending.of(pair.get(1).asText(), String.format("\"rule-%03d\"", rule)));
            }
            none = Ending.of(otherwise, "null");
            words.build(numbers);
            endings.forEach(ending -> teams.add(ending.team()));
            teams.add(otherwise);
        }

        Ending ending(String text) {
            int[] first = {endings.size()};
            AhoCorasickDoubleArrayTrie.IHit<Integer> hit = (begin, end, rule) -> first[0] = Math.min(first[0], rule);
            words.parseText(text, hit);
            return first[0] == endings.size() ? none : endings.get(first[0]);
        }
    }

    private static final class Route extends ContextualProcessor<byte[], byte[], byte[], byte[]> {
        private final JsonFactory json = new JsonFactory();
        private final Rules rules;

        Route(Rules rules) {
            this.rules = rules;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            byte[] value = record.value();
            Ending ending = rules.ending(text(value));
            int kept = value.length - 1;
            byte[] routed = Arrays.copyOf(value, kept + ending.tail().length);
            System.arraycopy(ending.tail(), 0, routed, kept, ending.tail().length);
            context().forward(record.withValue(routed), ending.team());
        }

        private String text(byte[] value) {
            try (JsonParser parser = json.createParser(value)) {
                parser.nextToken();
                while (parser.nextToken() == JsonToken.FIELD_NAME) {
                    boolean found = parser.currentName().equals("text");
                    parser.nextToken();
                    if (found) {
                        return parser.getValueAsString("");
                    }
                    parser.skipChildren();
                }
                return "";
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    public static void main(String[] arguments) throws IOException {
        Map<String, String> given = new HashMap<>();
        for (int i = 0; i < arguments.length; i += 2) {
            given.put(arguments[i], arguments[i + 1]);
        }
        Rules rules = new Rules(new ObjectMapper().readTree(new File(given.get("--words"))), given.get("--default"));
        Topology topology = new Topology();
        topology.addSource("received", new ByteArrayDeserializer(), new ByteArrayDeserializer(), given.get("--input"));
        topology.addProcessor("route", () -> new Route(rules), "received");
        for (String team : rules.teams) {
            String topic = given.get("--output") + team;
            topology.addSink(team, topic, new ByteArraySerializer(), new ByteArraySerializer(), "route");
        }

        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, given.get("--group"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("--bootstrap"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, given.get("--state"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.RETRY_BACKOFF_MS_CONFIG), 10);
        KafkaStreams streams = new KafkaStreams(topology, properties);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
    }
}
